package api

import "github.com/shardmill/shardmill/internal/secrets"

// listSecrets is GET /v1/secrets.
func (c *call) listSecrets(*none) (*SecretList, error) {
	list := &SecretList{Secrets: []Secret{}}
	for _, s := range c.secrets.List() {
		list.Secrets = append(list.Secrets, Secret(s))
	}
	return list, nil
}

// putSecret is PUT /v1/secrets/{name}. The body is the value, as it is.
func (c *call) putSecret(*none) error {
	if err := c.needMediaType(typeBytes); err != nil {
		return err
	}
	value, err := c.readBody(secrets.MaxValueBytes)
	if err != nil {
		return err
	}
	s, created, err := c.Handler.secrets.Set(c.context(), c.name(), value)
	if err != nil {
		return err
	}
	return writeDefined(c.w, Secret(s), created)
}

// deleteSecret is DELETE /v1/secrets/{name}.
func (c *call) deleteSecret() error { return c.secrets.Delete(c.context(), c.name()) }
