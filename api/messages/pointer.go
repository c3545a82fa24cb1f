package messages

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// keyAt is the value at a JSON pointer of a payload as a partition key: a string without its quotes, a number, true or
// false. The payload is read as far as it takes to find it. Error: ErrNoKey.
func keyAt(payload []byte, path jsontext.Pointer) ([]byte, error) {
	d := jsontext.NewDecoder(bytes.NewReader(payload))
	for step := range path.Tokens() {
		found, err := enter(d, step)
		if err != nil {
			return nil, fmt.Errorf("%w: the payload is not JSON: %w", ErrNoKey, err)
		}
		if !found {
			return nil, fmt.Errorf("%w: the payload has nothing at %s", ErrNoKey, path)
		}
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("%w: the payload is not JSON: %w", ErrNoKey, err)
	}
	switch token.Kind() {
	case '"', '0', 't', 'f':
		return []byte(token.String()), nil
	}
	return nil, fmt.Errorf("%w: what the payload has at %s is no string, number, true or false", ErrNoKey, path)
}

// enter reads on to the member or element that a step of a pointer names, and stands before its value.
func enter(d *jsontext.Decoder, step string) (found bool, err error) {
	switch d.PeekKind() {
	case '{':
		return enterObject(d, step)
	case '[':
		return enterArray(d, step)
	}
	_, err = d.ReadToken() // a value without members, or the error
	return false, err
}

func enterObject(d *jsontext.Decoder, name string) (found bool, err error) {
	if _, err := d.ReadToken(); err != nil {
		return false, err
	}
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return false, err
		}
		if token.String() == name {
			return true, nil
		}
		if err := d.SkipValue(); err != nil {
			return false, err
		}
	}
	_, err = d.ReadToken()
	return false, err
}

func enterArray(d *jsontext.Decoder, step string) (found bool, err error) {
	if _, err := d.ReadToken(); err != nil {
		return false, err
	}
	index, err := strconv.ParseUint(step, 10, 31)
	if err != nil || strconv.FormatUint(index, 10) != step { // no leading zero
		return false, nil
	}
	for range index {
		if k := d.PeekKind(); k == ']' || k == 0 {
			break
		}
		if err := d.SkipValue(); err != nil {
			return false, err
		}
	}
	switch d.PeekKind() {
	case ']':
		return false, nil
	case 0:
		_, err := d.ReadToken()
		return false, err
	}
	return true, nil
}
