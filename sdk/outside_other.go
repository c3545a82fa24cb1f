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
