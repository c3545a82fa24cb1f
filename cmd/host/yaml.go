package main

import (
	"errors"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decodeYAML decodes a file into v and refuses keys that v does not have. Where v has text, a number is taken as it is written: an
// account 000000000000 is not 0, and a variable 010 not 8.
func decodeYAML(b []byte, v any) (err error) {
	// The decoder (goccy/go-yaml v1.19.2) panics where a list is expected and a tag is found, as in "emit: !!str a".
	defer func() {
		if recover() != nil {
			err = errors.New("a value is not of its key's kind")
		}
	}()
	return yaml.UnmarshalWithOptions(b, v, yaml.Strict(), yaml.CustomUnmarshaler(decodeText))
}

// decodeText decodes one value, given as YAML, as text.
func decodeText(s *string, b []byte) error {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return err
	}
	if len(file.Docs) == 1 {
		if text, ok := written(file.Docs[0].Body); ok {
			*s = text
			return nil
		}
	}
	return yaml.Unmarshal(b, s)
}

// written is a number, true or false as it is written; ok is false for everything else.
func written(n ast.Node) (text string, ok bool) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// setting is what a key of a config file has: one value, or a list of them. Neither is there for anything else, readSettings says so.
type setting struct {
	one  string
	many []string // nil is no list
	has  bool     // one is there
}

// UnmarshalYAML takes a scalar or a list of scalars.
func (s *setting) UnmarshalYAML(n ast.Node) error {
	if list, ok := n.(*ast.SequenceNode); ok {
		s.many = []string{}
		for _, e := range list.Values {
			text, ok := scalar(e)
			if !ok {
				s.many = nil
				return nil
			}
			s.many = append(s.many, text)
		}
		return nil
	}
	s.one, s.has = scalar(n)
	return nil
}

// scalar is a value as text; ok is false for no value, lists and maps.
func scalar(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.AnchorNode:
		return scalar(n.Value)
	case *ast.TagNode:
		return scalar(n.Value)
	}
	return written(n)
}
