package wasm

import "iter"

// Sections of a module (https://webassembly.github.io/spec/core/binary/modules.html).
const (
	SectionCustom    = 0
	SectionType      = 1
	SectionImport    = 2
	SectionFunction  = 3
	SectionTable     = 4
	SectionMemory    = 5
	SectionGlobal    = 6
	SectionExport    = 7
	SectionStart     = 8
	SectionElement   = 9
	SectionCode      = 10
	SectionData      = 11
	SectionDataCount = 12
)

// Kinds of what is imported and exported.
const (
	ExternFunction = 0
	ExternTable    = 1
	ExternMemory   = 2
	ExternGlobal   = 3
)

// Header is how a core module of version 1 begins.
var Header = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// Section is one section; its body stands behind the identifier and the size that begin at Head.
type Section struct {
	ID         byte
	Head, Body int
	Bytes      []byte
}

// Sections yields the sections of a module, behind its header, in order; an error is the last thing that it yields.
func Sections(code []byte) iter.Seq2[Section, error] {
	return func(yield func(Section, error) bool) {
		for at := len(Header); at < len(code); {
			r := Reader{B: code, At: at + 1}
			s := Section{ID: code[at], Head: at}
			s.Bytes = r.Bytes()
			s.Body = r.At - len(s.Bytes)
			if !yield(s, r.Err) || r.Err != nil {
				return
			}
			at = r.At
		}
	}
}
