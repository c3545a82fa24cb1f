//go:build !wasip1

package sdk

// reach is what there is in the place of a host.
func (c *callContext) reach() (Outside, error) {
	switch {
	case c.ended.Load():
		return nil, ErrNoCall
	case c.outside == nil:
		return nil, ErrDenied
	}
	return c.outside, nil
}

func (c *callContext) secret(name string) ([]byte, error) {
	o, err := c.reach()
	if err != nil {
		return nil, err
	}
	return o.Secret(name)
}

func (c *callContext) stateGet(table, key string) (Entry, error) {
	o, err := c.reach()
	if err != nil {
		return Entry{}, err
	}
	return o.StateGet(table, key)
}

func (c *callContext) statePut(table, key string, value []byte, expected int64) (int64, error) {
	o, err := c.reach()
	if err != nil {
		return 0, err
	}
	return o.StatePut(table, key, value, expected)
}

func (c *callContext) stateDelete(table, key string, expected int64) error {
	o, err := c.reach()
	if err != nil {
		return err
	}
	return o.StateDelete(table, key, expected)
}

func (c *callContext) stateList(table, prefix, after string, limit int) ([]Entry, bool, error) {
	o, err := c.reach()
	if err != nil {
		return nil, false, err
	}
	return o.StateList(table, prefix, after, limit)
}

func (c *callContext) fetch(r *Request) (*Response, error) {
	o, err := c.reach()
	if err != nil {
		return nil, err
	}
	return o.Fetch(r)
}
