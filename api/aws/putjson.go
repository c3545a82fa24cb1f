package aws

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/sdk/record"
)

// putScanner reads a PutRecords or PutRecord in JSON, of the form that clients send: members that the model has, each once, none of
// them null. Where it says false, something is wrong or unusual, and the request is read the slow way: the body stays as it is.
// Records point to the body, to p.blobs, and to p.scratch where text was escaped.
type putScanner struct {
	b []byte
	i int
	p *putRequest
}

// readPut reads a whole request; many says that it is a PutRecords.
func (jsonCodec) readPut(body []byte, p *putRequest, many bool) bool {
	s := putScanner{b: body, p: p}
	if most := len(body) / 4 * 3; cap(p.blobs) < most {
		p.blobs = make([]byte, 0, most)
	}
	if !s.object(p.begin(many)) {
		return false
	}
	s.space()
	return s.i == len(body) && len(p.records) > 0
}

func (s *putScanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// next moves past white space and the byte c, if that is there.
func (s *putScanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// str moves past a string and says where its text is.
func (s *putScanner) str() (start, end int, escaped, ok bool) {
	if !s.next('"') {
		return 0, 0, false, false
	}
	start = s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			return 0, 0, false, false
		}
		at := s.i + n
		s.i = at + 1
		slashes := 0
		for at-slashes > start && s.b[at-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return start, at, bytes.IndexByte(s.b[start:at], '\\') >= 0, true
		}
	}
}

// plain is the text of a string, unescaped and checked.
func (s *putScanner) plain() ([]byte, bool) {
	start, end, escaped, ok := s.str()
	if !ok {
		return nil, false
	}
	if escaped {
		return s.unescape(start, end)
	}
	text := s.b[start:end:end]
	for _, c := range text {
		if c < ' ' {
			return nil, false
		}
	}
	return text, utf8.Valid(text)
}

// unescape is the text of a string with escapes, in scratch memory.
func (s *putScanner) unescape(start, end int) ([]byte, bool) {
	from := len(s.p.scratch)
	all, err := jsontext.AppendUnquote(s.p.scratch, s.b[start-1:end+1])
	if err != nil {
		return nil, false
	}
	s.p.scratch = all
	return all[from:len(all):len(all)], true
}

// object reads an object of which the members in allowed are known.
func (s *putScanner) object(allowed members) bool {
	if !s.next('{') {
		return false
	}
	var seen members
	for {
		start, end, escaped, ok := s.str()
		if !ok || escaped || !s.next(':') {
			return false
		}
		m := memberOf(s.b[start:end])
		if m&allowed == 0 || m&seen != 0 || !s.member(m) {
			return false
		}
		seen |= m
		if s.next('}') {
			return seen&memberData != 0 || allowed&memberData == 0
		}
		if !s.next(',') {
			return false
		}
	}
}

// member reads the value of one member; those of records belong to the newest one.
func (s *putScanner) member(m members) bool {
	switch m {
	case memberRecords:
		return s.records()
	case memberData:
		return s.data()
	}
	text, ok := s.plain()
	return ok && s.p.setMember(m, text)
}

// records reads the list of records.
func (s *putScanner) records() bool {
	if !s.next('[') {
		return false
	}
	for {
		if len(s.p.records) == maxPutRecords {
			return false
		}
		s.p.records = append(s.p.records, record.Record{})
		if !s.object(ofRecord) {
			return false
		}
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// data reads the data of the newest record.
func (s *putScanner) data() bool {
	start, end, escaped, ok := s.str()
	if !ok {
		return false
	}
	text := s.b[start:end]
	if escaped {
		if text, ok = s.unescape(start, end); !ok {
			return false
		}
	}
	n := strictBase64.DecodedLen(len(text))
	if len(text)%4 != 0 || n > maxDataBytes+2 {
		return false
	}
	from := len(s.p.blobs)
	into := s.p.blobs[from : from+n] // begin has made room for all of the body
	n, err := strictBase64.Decode(into, text)
	// Line ends, which the decoder passes over, make fewer bytes.
	if err != nil || strictBase64.EncodedLen(n) != len(text) || n > maxDataBytes {
		return false
	}
	s.p.blobs = s.p.blobs[:from+n]
	s.p.records[len(s.p.records)-1].Data = into[:n:n]
	return true
}
