package aws

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxValues is how many values a document of a request may have. The largest that the model allows, a PutRecords, has some 2,000; without a
// limit, one of 16 MiB could make a tree of more than 1 GiB.
const maxValues = 1 << 17

var (
	errDeep = fmt.Errorf("the document nests more than %d deep", maxDepth)
	errMany = fmt.Errorf("the document has more than %d values", maxValues)
)

// jsonTree reads one JSON document into a tree, see codec.decode.
type jsonTree struct {
	d    *jsontext.Decoder
	left int // values that may still come
}

func readJSON(b []byte) (any, error) {
	// A Buffer is read where it lies; of another reader the decoder makes a copy, and for an upload of 80 MiB another three.
	t := jsonTree{jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true)), maxValues}
	v, err := t.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := t.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	return v, nil
}

// value reads the value that is next.
func (t *jsonTree) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	if t.left--; t.left < 0 {
		return nil, errMany
	}
	token, err := t.d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return t.members(depth)
	case '[':
		return t.elements(depth)
	case '"':
		return token.String(), nil
	case '0':
		return token.Float()
	case 't', 'f':
		return token.Bool(), nil
	}
	return nil, nil
}

func (t *jsonTree) members(depth int) (any, error) {
	m := map[string]any{}
	for {
		name, err := t.d.ReadToken()
		if err != nil {
			return nil, err
		}
		if name.Kind() == '}' {
			return m, nil
		}
		key := name.String() // the token is not valid behind the next one
		if m[key], err = t.value(depth + 1); err != nil {
			return nil, err
		}
	}
}

func (t *jsonTree) elements(depth int) (any, error) {
	list := []any{}
	for t.d.PeekKind() != ']' {
		v, err := t.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := t.d.ReadToken()
	return list, err
}
