package main

import "bytes"

// member is the string or number in a top-level member of the JSON object in data, as it stands there; nil when
// there is none. Only what leads to the member is looked at.
//
// json.Unmarshal into a struct does the same in one line. It takes five to ten times as long in WebAssembly, and makes the
// module 700 KB larger, so a function that wants two members of every record may prefer to look for them.
func member(data []byte, name string) []byte {
	depth := 0
	for at := 0; at < len(data); at++ {
		switch data[at] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := endOfString(data, at)
			if end < 0 {
				return nil
			}
			if depth == 1 && string(data[at+1:end]) == name {
				if value, isMember := bytes.CutPrefix(trim(data[end+1:]), []byte(":")); isMember {
					return scalar(trim(value))
				}
			}
			at = end
		}
	}
	return nil
}

// endOfString is where the closing quote is of the JSON string that begins at data[at]; -1 when there is none.
func endOfString(data []byte, at int) int {
	for at++; at < len(data); at++ {
		switch data[at] {
		case '\\':
			at++
		case '"':
			return at
		}
	}
	return -1
}

// scalar is the string or number at the start of data, up to what ends a member.
func scalar(data []byte) []byte {
	if len(data) > 0 && data[0] == '"' {
		return data[:endOfString(data, 0)+1]
	}
	end := bytes.IndexAny(data, ",} \t")
	return data[:max(end, 0)]
}

func trim(data []byte) []byte { return bytes.TrimLeft(data, " \t") }

// text is what a JSON string says. Strings with escapes or control characters are none here: no airport has them.
func text(value []byte) (s []byte, ok bool) {
	if len(value) < 3 || value[0] != '"' {
		return nil, false
	}
	s = value[1 : len(value)-1]
	for _, c := range s {
		if c == '\\' || c < ' ' {
			return nil, false
		}
	}
	return s, true
}
