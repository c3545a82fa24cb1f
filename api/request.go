package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/field"
)

// call is one request on its way through a handler.
type call struct {
	*Handler
	w    http.ResponseWriter
	r    *http.Request
	body *guardedBody // nil until a handler reads the body
}

// context is the request's: it ends when the client goes.
func (c *call) context() context.Context { return c.r.Context() }

// name is the {name} of the path.
func (c *call) name() string {
	name := chi.URLParam(c.r, "name")
	if c.r.URL.RawPath == "" {
		return name
	}
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// mediaType is the body's media type without parameters, "" when there is none.
func (c *call) mediaType() string {
	t, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// needMediaType refuses a body of another media type than those named, and any
// content coding.
func (c *call) needMediaType(allowed ...string) error {
	if coding := c.r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		p := problem(KindMediaType, "The body's Content-Encoding is %s; send it plain.", quote(coding))
		p.Field, p.Value, p.Limit = "Content-Encoding", cut(coding), "identity"
		return p
	}
	if got := c.mediaType(); slices.Contains(allowed, got) {
		return c.needUTF8(got)
	}
	limit := strings.Join(allowed, " or ")
	p := problem(KindMediaType, "The body's Content-Type is %s; send it as %s.", quote(c.r.Header.Get("Content-Type")), limit)
	p.Field, p.Value, p.Limit = "Content-Type", cut(c.r.Header.Get("Content-Type")), limit
	return p
}

// needUTF8 refuses text of another character set: JSON is UTF-8 (RFC 8259).
func (c *call) needUTF8(mediaType string) error {
	_, params, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	set, given := params["charset"]
	if !given || strings.EqualFold(set, "utf-8") || (mediaType != typeJSON && mediaType != typeLines) {
		return nil
	}
	p := problem(KindMediaType, "The body's character set is %s; send it as UTF-8.", quote(set))
	p.Field, p.Value, p.Limit = "Content-Type", cut(c.r.Header.Get("Content-Type")), mediaType+"; charset=utf-8"
	return p
}

// tooLarge is the problem of a body, or a part of one, over its limit.
func tooLarge(field string, limit int64) *Problem {
	p := problem(KindBodyTooLarge, "The %s is larger than %s; send less at once.", field, Size(limit))
	p.Field, p.Limit = field, fmt.Sprintf("%d bytes", limit)
	return p
}

// readBody reads a whole body of at most limit bytes. A body that says that it
// is larger is refused before a byte of it is read.
func (c *call) readBody(limit int64) ([]byte, error) {
	if c.r.ContentLength > limit {
		return nil, tooLarge("body", limit)
	}
	var b bytes.Buffer
	if c.r.ContentLength > 0 {
		b.Grow(int(min(c.r.ContentLength, trusted)) + bytes.MinRead)
	}
	g := c.guardWhole(limit)
	defer g.arrival.end()
	if _, err := b.ReadFrom(g); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// limited is the body cut off behind limit bytes, where reading fails.
func (c *call) limited(limit int64) io.Reader { return http.MaxBytesReader(c.w, c.r.Body, limit) }

// readJSON reads a JSON body into v; see decodeJSON.
func (c *call) readJSON(v any, limit int64) error {
	if err := c.needMediaType("application/json"); err != nil {
		return err
	}
	b, err := c.readBody(limit)
	if err != nil {
		return err
	}
	return decodeJSON(b, v)
}

// base64Form is what a field for bytes may be.
const base64Form = "a string in base64 with padding (RFC 4648 section 4)"

// decodeJSON decodes one JSON value into v. Unknown and repeated members are
// refused, as are values of another type, null in place of an object, and zero
// where only leaving a member out means its default; the problem names the field.
func decodeJSON(b []byte, v any) error {
	if string(bytes.TrimSpace(b)) == "null" {
		return invalidJSON("body", jsontext.Value("null"), describeType(reflect.TypeOf(v)))
	}
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case err == nil:
		return refuseZeros(b, v)
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		name := fieldPath(semantic.JSONPointer)
		p := problem(KindUnknownField, "The field %s is unknown here; leave it out or correct its name. Known: %s.", quote(name), strings.Join(knownFields(v, semantic.JSONPointer), ", "))
		p.Field = cut(name)
		return p
	case errors.As(err, &semantic):
		if v := valueAt(b, semantic.JSONPointer); v != nil {
			return mistypedField(v, semantic)
		}
		// The value that does not fit breaks off or is malformed: that comes first.
		_, err = jsontext.NewDecoder(bytes.NewReader(b)).ReadValue()
	}
	if errors.As(err, &syntactic) {
		what := "is not valid JSON"
		if errors.Is(syntactic.Err, jsontext.ErrDuplicateName) {
			what = "names a member twice"
		}
		p := problem(KindMalformedJSON, "The body %s at byte %d; correct it there.", what, syntactic.ByteOffset)
		p.Field = cut(fieldPath(syntactic.JSONPointer))
		return p
	}
	return problem(KindMalformedJSON, "The body is not the JSON that is taken here: %v.", err)
}

// mistypedField is the problem of a value that does not fit its field.
func mistypedField(v jsontext.Value, e *json.SemanticError) *Problem {
	name, limit := fieldPath(e.JSONPointer), ""
	if t := e.GoType; t != nil {
		limit = describeType(t)
	}
	for _, scalar := range []error{errDuration, errSize, errRecordNumber} {
		if errors.Is(e.Err, scalar) {
			limit = scalar.Error()
		}
	}
	if name == "" {
		name = "body"
	}
	return invalidJSON(name, v, limit)
}

// invalidJSON is invalidField of a value as JSON: the sentence shows its kind, and
// the member value has a string's text.
func invalidJSON(name string, v jsontext.Value, limit string) *Problem {
	e := field.Error{Field: name, Value: cut(string(v)), Limit: limit}
	e.Shown = strings.Join(strings.Fields(e.Value), " ")
	if v.Kind() == '"' {
		if text, err := jsontext.AppendUnquote(nil, v); err == nil {
			e.Value = cut(string(text))
			e.Shown = quote(e.Value)
		}
	}
	return refusal(&e)
}

// valueAt is the value that a pointer names in a JSON text, nil when there is none.
func valueAt(body []byte, p jsontext.Pointer) jsontext.Value {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for token := range p.Tokens() {
		open, err := d.ReadToken()
		if err != nil {
			return nil
		}
		for i := 0; ; i++ {
			name := strconv.Itoa(i)
			if open.Kind() == '{' {
				member, err := d.ReadToken()
				if err != nil || member.Kind() != '"' {
					return nil
				}
				name = member.String()
			}
			if name == token {
				break
			}
			if open.Kind() != '{' && open.Kind() != '[' || d.SkipValue() != nil {
				return nil
			}
		}
	}
	v, err := d.ReadValue()
	if err != nil {
		return nil
	}
	return v
}

// refuseZeros refuses members that are null, and those that are given as zero
// though their field, which says by its tag "some" what it may be, takes zero for
// "left out".
func refuseZeros(b []byte, v any) error {
	target := reflect.ValueOf(v).Elem()
	if target.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(target.Type()) {
		if f.Anonymous || !target.FieldByIndex(f.Index).IsZero() {
			continue
		}
		limit := f.Tag.Get("some")
		given := valueAt(b, jsontext.Pointer("").AppendToken(jsonName(f)))
		if given != nil && (limit != "" || given.Kind() == 'n') {
			return invalidJSON(jsonName(f), given, cmp.Or(limit, describeType(f.Type)))
		}
	}
	return nil
}

// describeType says what JSON a Go type takes.
func describeType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return errDuration.Error()
	case reflect.TypeFor[Size]():
		return errSize.Error()
	case reflect.TypeFor[RecordNumber]():
		return errRecordNumber.Error()
	case reflect.TypeFor[[]byte]():
		return base64Form
	case reflect.TypeFor[time.Time]():
		return "a time in RFC 3339 form, such as 2026-11-21T03:45:00Z"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describeType(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

// fieldPath writes a JSON pointer the way people do: records[3].partitionKey.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil {
			fmt.Fprintf(&b, "[%s]", token)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

// knownFields lists the members of the object in v that holds the pointer's last token.
func knownFields(v any, p jsontext.Pointer) []string {
	t := reflect.TypeOf(v).Elem()
	for token := range p.Parent().Tokens() {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			continue // an index
		}
		for field := range t.Fields() {
			if jsonName(field) == token {
				t = field.Type
				break
			}
		}
	}
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names []string
	if t.Kind() == reflect.Struct {
		for field := range t.Fields() {
			names = append(names, jsonName(field))
		}
	}
	return names
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
