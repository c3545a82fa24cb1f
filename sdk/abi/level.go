package abi

import "strings"

// The levels of log lines.
const (
	LevelDebug = "debug"
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"
)

var levelNames = map[string]string{
	"trace": LevelDebug, "debug": LevelDebug, "info": LevelInfo, "warn": LevelWarn, "warning": LevelWarn,
	"error": LevelError, "fatal": LevelError, "panic": LevelError, "critical": LevelError,
}

// ParseLevel finds the level of a log line that is a JSON object with a string member "level", and is false
// for any other line. It looks only at what it needs: the rest of the line may be anything.
func ParseLevel(line []byte) (level string, ok bool) {
	s := strings.TrimSpace(string(line))
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return "", false
	}
	for depth, i := 0, 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			text, end := quoted(s, i)
			i = end
			if depth == 1 && text == "level" {
				if value, is := memberString(s[end+1:]); is {
					value, _, _ = strings.Cut(value, "+") // slog writes INFO+2
					value, _, _ = strings.Cut(value, "-")
					level, ok = levelNames[strings.ToLower(value)]
					return level, ok
				}
			}
		}
	}
	return "", false
}

// quoted is the raw text of the JSON string that begins at s[at], and where its closing quote is; the end of s
// where there is none.
func quoted(s string, at int) (text string, end int) {
	for end = at + 1; end < len(s); end++ {
		switch s[end] {
		case '\\':
			end++
		case '"':
			return s[at+1 : end], end
		}
	}
	return "", len(s) - 1
}

// memberString is the string that follows a colon at the start of s.
func memberString(s string) (string, bool) {
	s, ok := strings.CutPrefix(strings.TrimLeft(s, " \t"), ":")
	s = strings.TrimLeft(s, " \t")
	if !ok || len(s) == 0 || s[0] != '"' {
		return "", false
	}
	text, _ := quoted(s, 0)
	return text, true
}
