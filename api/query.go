package api

import (
	"encoding"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decodeQuery reads a query into the struct v points to, by the fields' query
// tags. Fields are strings, bools, ints, []strings (repeatable), Variables
// (repeatable) and encoding.TextUnmarshalers. A parameter that is unknown, repeated without need
// or of another type is refused by name; one that is absent leaves its field.
func decodeQuery(raw string, v any) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		p := problem(KindUnknownParameter, "The query is malformed (%v); escape its names and values and separate them with &.", err)
		p.Field = "query"
		return p
	}
	target := reflect.ValueOf(v).Elem()
	known := queryFields(target.Type())
	for _, name := range slices.Sorted(mapKeys(values)) {
		i := slices.IndexFunc(known, func(f reflect.StructField) bool { return f.Tag.Get("query") == name })
		if i < 0 {
			return unknownParameter(name, known)
		}
		field := target.FieldByIndex(known[i].Index)
		if list, ok := field.Addr().Interface().(*[]string); ok {
			*list = values[name]
			continue
		}
		if variables, ok := field.Addr().Interface().(*Variables); ok {
			for _, text := range values[name] {
				if err := variables.Add(text); err != nil {
					variable, _, _ := strings.Cut(text, "=") // without the value, which may be what nobody should see
					return invalidField(name, variable, err.Error())
				}
			}
			continue
		}
		if len(values[name]) > 1 {
			return invalidField(name, strings.Join(values[name], ", "), "given once")
		}
		if limit := setScalar(field, values[name][0]); limit != "" {
			return invalidField(name, values[name][0], limit)
		}
		if limit := known[i].Tag.Get("some"); limit != "" && field.IsZero() {
			return invalidField(name, values[name][0], limit)
		}
	}
	return nil
}

func mapKeys(values url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range values {
			if !yield(name) {
				return
			}
		}
	}
}

// queryFields are the fields of a struct type, embedded ones included, that
// have a query tag.
func queryFields(t reflect.Type) []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Tag.Get("query") == "" })
}

func unknownParameter(name string, known []reflect.StructField) *Problem {
	limit := "no parameter at all"
	if len(known) > 0 {
		names := make([]string, len(known))
		for i, f := range known {
			names[i] = f.Tag.Get("query")
		}
		limit = strings.Join(names, ", ")
	}
	p := problem(KindUnknownParameter, "The query parameter %s is unknown here; leave it out or correct its name. Known: %s.", quote(name), limit)
	p.Field, p.Limit = cut(name), limit
	return p
}

// setScalar parses text into a field and says, where it cannot, what is taken.
func setScalar(field reflect.Value, text string) (limit string) {
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return describeType(field.Type())
		}
		return ""
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "true or false"
		}
		field.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return "a whole number"
		}
		field.SetInt(int64(n))
	default:
		panic("api: query field of type " + field.Type().String())
	}
	return ""
}
