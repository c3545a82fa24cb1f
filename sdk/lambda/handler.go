package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Handler takes an event and gives an answer, both JSON. payload is valid until Invoke returns, and what it returns until the next call.
type Handler interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// NewHandler is the Handler of one of the forms of the package's documentation. One of another form fails with every call, saying why.
func NewHandler(handler any) Handler { return NewHandlerWithOptions(handler) }

// NewHandlerWithOptions is NewHandler with options.
func NewHandlerWithOptions(handler any, opts ...Option) Handler {
	if h, ok := handler.(*function); ok {
		return h
	}
	f := new(function)
	for _, option := range opts {
		option(&f.options)
	}
	if h, ok := handler.(Handler); ok {
		f.handler = h
		return f
	}
	if err := f.take(handler); err != nil {
		return refusal{err}
	}
	return f
}

// refusal is the Handler of what is none.
type refusal struct{ err error }

func (r refusal) Invoke(context.Context, []byte) ([]byte, error) { return nil, r.err }

// function is a handler with its options. It is called by one goroutine at a time.
type function struct {
	options
	handler Handler // the author's own; nil: call is called

	call         reflect.Value
	takesContext bool
	event        reflect.Type // of TIn; nil: it takes none
	kinesis      bool         // TIn is the event of a stream
	window       bool         // with a time window
	answers      bool         // it returns a TOut

	out bytes.Buffer // the last answer
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// take looks at the form of a handler.
func (f *function) take(handler any) error {
	if handler == nil {
		return errors.New("handler is nil")
	}
	f.call = reflect.ValueOf(handler)
	t := f.call.Type()
	switch {
	case t.Kind() != reflect.Func:
		return fmt.Errorf("handler is a %s and not a func", t.Kind())
	case f.call.IsNil():
		return errors.New("handler is nil")
	case t.IsVariadic():
		return errors.New("handler takes any number of arguments; it can take a context and an event")
	}
	if err := f.takeArguments(t); err != nil {
		return err
	}
	switch n := t.NumOut(); {
	case n > 2:
		return fmt.Errorf("handler returns %d values; it can return an answer and an error", n)
	case n > 0 && !t.Out(n-1).Implements(errorType):
		return fmt.Errorf("handler returns a %v last, which is no error", t.Out(n-1))
	}
	f.answers = t.NumOut() == 2
	return nil
}

func (f *function) takeArguments(t reflect.Type) error {
	n := t.NumIn()
	f.takesContext = n > 0 && t.In(0).Kind() == reflect.Interface && t.In(0).Implements(contextType) && contextType.Implements(t.In(0))
	switch {
	case n > 2:
		return fmt.Errorf("handler takes %d arguments; it can take a context and an event", n)
	case n == 2 && !f.takesContext:
		return fmt.Errorf("handler takes a %v first; of two arguments the first is a context.Context", t.In(0))
	case n == 1 && !f.takesContext && t.In(0).Kind() == reflect.Interface && t.In(0).NumMethod() > 0:
		return fmt.Errorf("handler takes a %v, which is an interface and not context.Context", t.In(0))
	case n == 2 || n == 1 && !f.takesContext:
		f.event = t.In(n - 1)
		if f.kinesis, f.window = isKinesis(f.event); f.kinesis {
			base64Pairs() // made where main runs, so that instances share them
		}
	}
	return nil
}

// Invoke decodes the event, calls the handler, and encodes its answer.
func (f *function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if f.base != nil {
		ctx = callContext{ctx, f.base}
	}
	if f.handler != nil {
		return f.handler.Invoke(ctx, bytes.Clone(payload)) // on AWS it may keep it
	}
	var args []reflect.Value
	if f.takesContext {
		args = append(args, reflect.ValueOf(ctx))
	}
	if f.event != nil {
		event := reflect.New(f.event)
		if !f.kinesis || f.disallowUnknown || !decodeKinesis(payload, event, f.window) {
			if err := f.decode(payload, event.Interface()); err != nil {
				return nil, err
			}
		}
		args = append(args, event.Elem())
	}
	results := f.call.Call(args)
	if n := len(results); n > 0 {
		if err, _ := results[n-1].Interface().(error); err != nil {
			return nil, err
		}
	}
	var answer any
	if f.answers {
		answer = results[0].Interface()
	}
	return f.encode(answer)
}

func (f *function) decode(payload []byte, event any) error {
	if !f.useNumber && !f.disallowUnknown {
		return json.Unmarshal(payload, event)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	if f.useNumber {
		d.UseNumber()
	}
	if f.disallowUnknown {
		d.DisallowUnknownFields()
	}
	return d.Decode(event)
}

// encode writes an answer as JSON. A reader that says nothing as JSON is read instead.
func (f *function) encode(answer any) ([]byte, error) {
	f.out.Reset()
	e := json.NewEncoder(&f.out)
	e.SetEscapeHTML(f.escapeHTML)
	e.SetIndent(f.prefix, f.indented)
	err := e.Encode(answer)
	if r, ok := answer.(io.Reader); ok && (err != nil || bytes.HasPrefix(f.out.Bytes(), []byte("{}"))) {
		return read(r)
	}
	if err != nil {
		return nil, err
	}
	if f.prefix == "" && f.indented == "" {
		return bytes.TrimSuffix(f.out.Bytes(), []byte("\n")), nil
	}
	return f.out.Bytes(), nil
}

// read is all that a reader has; it is closed where that can be done.
func read(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(r)
	if c, ok := r.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return b, err
}
