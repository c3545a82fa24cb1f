package lambda

import "context"

// Option changes how a handler is called. The options and their defaults are those of aws-lambda-go.
type Option func(*options)

type options struct {
	base             context.Context
	useNumber        bool
	disallowUnknown  bool
	escapeHTML       bool
	prefix, indented string
}

// WithContext makes the values of ctx those of every call's context. The deadline and the end are the call's own.
func WithContext(ctx context.Context) Option { return func(o *options) { o.base = ctx } }

// WithContextValue adds a value to every call's context.
func WithContextValue(key, value any) Option {
	return func(o *options) {
		if o.base == nil {
			o.base = context.Background()
		}
		o.base = context.WithValue(o.base, key, value)
	}
}

// WithSetEscapeHTML escapes <, > and & in answers.
func WithSetEscapeHTML(escapeHTML bool) Option { return func(o *options) { o.escapeHTML = escapeHTML } }

// WithSetIndent indents answers.
func WithSetIndent(prefix, indent string) Option {
	return func(o *options) { o.prefix, o.indented = prefix, indent }
}

// WithUseNumber reads numbers into an interface as json.Number.
func WithUseNumber(useNumber bool) Option { return func(o *options) { o.useNumber = useNumber } }

// WithDisallowUnknownFields refuses events with members that TIn has not.
func WithDisallowUnknownFields(disallow bool) Option {
	return func(o *options) { o.disallowUnknown = disallow }
}

// WithEnableSIGTERM does nothing: an instance gets no signals. It is here so that programs compile.
func WithEnableSIGTERM(callbacks ...func()) Option { return func(*options) {} }

// callContext is the context of a call with the values of the base behind its own.
type callContext struct {
	context.Context
	base context.Context
}

// Value looks at the call's own values first.
func (c callContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.base.Value(key)
}
