package aws

import "reflect"

// permission is what a caller needs for an operation.
type permission string

const (
	describe permission = "stream:describe" // look at definitions
	read     permission = "stream:read"     // read records
	put      permission = "stream:put"      // put records
	manage   permission = "stream:manage"   // create, change and delete streams and consumers
)

// operation is one row of the table.
type operation struct {
	name       string
	permission permission
	input      *shape
	serve      func(c *call, body []byte) error
	limit      int // bytes of a body; 0: that of the permission
}

// op makes a row: the input is decoded into an I and checked, and what the function returns is the answer; nil is an empty one.
func op[I any](name string, needs permission, f func(c *call, in *I) (any, error)) operation {
	s := shapeOf(reflect.TypeFor[I]())
	return operation{name: name, permission: needs, input: s, serve: func(c *call, body []byte) error {
		in := new(I)
		if err := c.input(s, body, in); err != nil {
			return err
		}
		out, err := f(c, in)
		if err != nil {
			return err
		}
		return c.answer(out)
	}}
}

// raw makes a row whose function reads the input and answers by itself.
func raw[I any](name string, needs permission, f func(c *call, body []byte) error) operation {
	return operation{name: name, permission: needs, input: shapeOf(reflect.TypeFor[I]()), serve: f}
}

// input decodes and checks a request.
func (c *call) input(s *shape, body []byte, in any) error {
	tree, err := c.protocol.decode(body)
	if err != nil {
		c.logger.Debug("document cannot be read", "request", c.id, "error", err)
		return &fault{code: codeSerialization, status: 400}
	}
	if tree == nil {
		return &fault{code: codeSerialization, status: 400}
	}
	if err := s.bind(tree, in); err != nil {
		return err
	}
	return s.validate(tree)
}
