package event

import (
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// appendText appends s as a JSON string: as encoding/json writes it when it does not escape HTML.
func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for at := 0; at < len(s); {
		if plain(s[at]) {
			at++
			continue
		}
		size, escape := special(s[at:])
		if !escape {
			at += size
			continue
		}
		dst = append(dst, s[from:at]...)
		dst = appendEscape(dst, s[at:at+size])
		at += size
		from = at
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// textSize is how many bytes appendText appends.
func textSize[T string | []byte](s T) int {
	n := len(s) + len(`""`)
	for at := 0; at < len(s); {
		if plain(s[at]) {
			at++
			continue
		}
		size, escape := special(s[at:])
		if escape {
			n += escapeSize(s[at:at+size]) - size
		}
		at += size
	}
	return n
}

// plain says whether a byte stands for itself.
func plain(c byte) bool { return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' }

// special looks at a character that is not plain: how many bytes it has, and whether it is escaped.
func special[T string | []byte](s T) (size int, escape bool) {
	if s[0] < utf8.RuneSelf {
		return 1, true
	}
	var c rune
	c, size = utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
	return size, c == utf8.RuneError && size == 1 || c == '\u2028' || c == '\u2029'
}

// appendEscape appends the escape of one character that has one.
func appendEscape[T string | []byte](dst []byte, c T) []byte {
	if short := shortEscape(c[0]); short != 0 {
		return append(dst, '\\', short)
	}
	switch {
	case c[0] < utf8.RuneSelf:
		return append(dst, '\\', 'u', '0', '0', hex[c[0]>>4], hex[c[0]&15])
	case len(c) == 1:
		return append(dst, `\ufffd`...)
	}
	return append(dst, '\\', 'u', '2', '0', '2', hex[c[2]&15]) // U+2028 is e2 80 a8
}

func escapeSize[T string | []byte](c T) int {
	if shortEscape(c[0]) != 0 {
		return len(`\n`)
	}
	return len(`\u0000`)
}

// shortEscape is the letter behind the backslash, 0 when there is none.
func shortEscape(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	}
	return 0
}

// appendSeconds appends a time in microseconds since 1970 as seconds with three decimals, towards the past.
func appendSeconds(dst []byte, micros int64) []byte {
	millis := micros / 1000
	if micros%1000 < 0 {
		millis--
	}
	if millis < 0 {
		dst, millis = append(dst, '-'), -millis
	}
	dst = strconv.AppendInt(dst, millis/1000, 10)
	part := millis % 1000
	return append(dst, '.', byte('0'+part/100), byte('0'+part/10%10), byte('0'+part%10))
}

// secondsSize is how many bytes appendSeconds appends.
func secondsSize(micros int64) int {
	if micros >= 1e15 && micros < 1e16 { // from 2001 to 2286
		return len("1545084650.987")
	}
	var b [32]byte
	return len(appendSeconds(b[:0], micros))
}

// appendShard appends a shard's name in Kinesis.
func appendShard(dst []byte, shard uint32) []byte {
	dst = append(dst, shardPrefix...)
	var digits [shardDigits]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + shard%10)
		shard /= 10
	}
	return append(dst, digits[:]...)
}
