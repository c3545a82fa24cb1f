package aws

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// bind puts a decoded document into v, a pointer to a struct of the shape. Members that the shape does not have are ignored.
// Its error is a SerializationException with AWS's text.
func (s *shape) bind(tree any, v any) error { return s.set(tree, reflect.ValueOf(v).Elem()) }

func mistyped(format string, args ...any) error { return faultf(codeSerialization, format, args...) }

// set puts one value into dst. null leaves it as it is.
func (s *shape) set(tree any, dst reflect.Value) error {
	if tree == nil {
		return nil
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	switch s.kind {
	case structure:
		return s.setMembers(tree, dst)
	case listKind:
		return s.setList(tree, dst)
	case mapKind:
		return s.setMap(tree, dst)
	case anyKind:
		v := reflect.ValueOf(tree)
		dst.SetBool(v.Kind() != reflect.Map && v.Kind() != reflect.Slice && v.Kind() != reflect.String || v.Len() > 0)
		return nil
	}
	switch tree.(type) {
	case []any:
		return mistyped("Start of list found where not expected")
	case map[string]any:
		return mistyped("Start of structure or map found where not expected.")
	}
	return s.setScalar(tree, dst)
}

func (s *shape) setMembers(tree any, dst reflect.Value) error {
	m, ok := tree.(map[string]any)
	if !ok {
		return mistyped("Expected null")
	}
	for i := range s.members {
		mb := &s.members[i]
		if v := m[mb.name]; v != nil {
			if err := mb.set(v, dst.FieldByIndex(mb.index)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shape) setList(tree any, dst reflect.Value) error {
	list, ok := tree.([]any)
	if !ok {
		return mistyped("Expected list or null")
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
	for i, v := range list {
		if err := s.elem.set(v, dst.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) setMap(tree any, dst reflect.Value) error {
	m, ok := tree.(map[string]any)
	if !ok {
		return mistyped("Expected map or null")
	}
	dst.Set(reflect.MakeMapWithSize(dst.Type(), len(m)))
	for k, v := range m {
		elem := reflect.New(dst.Type().Elem()).Elem()
		if err := s.elem.set(v, elem); err != nil {
			return err
		}
		dst.SetMapIndex(reflect.ValueOf(k), elem)
	}
	return nil
}

func (s *shape) setScalar(tree any, dst reflect.Value) error {
	switch s.kind {
	case stringKind:
		switch v := tree.(type) {
		case string:
			dst.SetString(v)
			return nil
		case float64: // AWS takes numbers with a fraction, and no others
			if v != math.Trunc(v) {
				dst.SetString(fmt.Sprint(v))
				return nil
			}
		}
		return mistyped("class %s can not be converted to an String", className(tree))
	case intKind:
		switch v := tree.(type) {
		case int64:
			dst.SetInt(v)
			return nil
		case float64:
			dst.SetInt(int64(max(min(v, math.MaxInt32), math.MinInt32)))
			return nil
		}
		return mistyped("class %s can not be converted to an Integer", className(tree))
	case floatKind:
		if v, ok := tree.(float64); ok {
			dst.SetFloat(v)
			return nil
		}
		return mistyped("class %s can not be converted to an Double", className(tree))
	case boolKind:
		switch v := tree.(type) {
		case bool:
			dst.SetBool(v)
			return nil
		case string:
			if v == "true" || v == "false" {
				dst.SetBool(v == "true")
				return nil
			}
			return mistyped("'%s' can not be converted to an Boolean", cut(v))
		}
		return mistyped("class %s can not be converted to an Boolean", className(tree))
	case timeKind:
		return setTime(tree, dst)
	}
	return setBlob(tree, dst)
}

func setTime(tree any, dst reflect.Value) error {
	at, ok := instant(0), false
	switch v := tree.(type) {
	case instant:
		at, ok = v, true
	case int64: // CBOR without the tag
		at, ok = millisOf(float64(v))
	case float64:
		at, ok = millisOf(v)
	}
	if !ok {
		return mistyped("class %s can not be converted to milliseconds since epoch", className(tree))
	}
	dst.SetInt(int64(at))
	return nil
}

func setBlob(tree any, dst reflect.Value) error {
	switch v := tree.(type) {
	case []byte:
		dst.SetBytes(v)
		return nil
	case string:
		b, err := decodeBase64(v)
		if err == nil {
			dst.SetBytes(b)
		}
		return err
	}
	return mistyped("class %s can not be converted to a Blob", className(tree))
}

// decodeBase64 decodes the standard alphabet with padding, strictly.
func decodeBase64(s string) ([]byte, error) {
	if len(s)%4 != 0 {
		return nil, mistyped("'%s' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: %d", cut(s), len(s))
	}
	b, err := strictBase64.DecodeString(s)
	if err == nil && !strings.ContainsAny(s, "\r\n") {
		return b, nil
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	bare := strings.TrimRight(s, "=")
	for _, c := range bare {
		if !strings.ContainsRune(alphabet, c) {
			return nil, mistyped("'%s' can not be converted to a Blob: Invalid Base64 character: '%c'", cut(s), c)
		}
	}
	if len(s)-len(bare) > 2 {
		return nil, mistyped("'%s' can not be converted to a Blob: Invalid Base64 character: '='", cut(s))
	}
	return nil, mistyped("'%s' can not be converted to a Blob: Invalid last non-pad Base64 character dectected", cut(s)) // AWS's spelling
}

var strictBase64 = base64.StdEncoding.Strict()

// className is the Java class that AWS would have read a scalar as.
func className(tree any) string {
	n := int64(0)
	switch v := tree.(type) {
	case bool:
		return "java.lang.Boolean"
	case string:
		return "java.lang.String"
	case []byte:
		return "java.nio.HeapByteBuffer"
	case instant:
		return "java.util.Date"
	case int64:
		n = v
	case float64:
		if v != math.Trunc(v) || math.Abs(v) >= 1<<63 {
			return "java.lang.Double"
		}
		n = int64(v)
	}
	switch {
	case n >= math.MinInt16 && n <= math.MaxInt16:
		return "java.lang.Short"
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return "java.lang.Integer"
	}
	return "java.lang.Long"
}
