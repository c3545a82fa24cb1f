package main

import (
	"encoding/json"
	"strings"
)

// logText is a message of a function's log for a terminal: a stack has its lines, indented, so that none passes for a message of its own, and nothing in it
// controls the terminal. What an SDK writes as JSON only to say its level, or because it has several lines, is shown as the text that it is.
func logText(message string) string {
	lines := strings.Split(strings.ReplaceAll(plainText(message), "\t", "    "), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.TrimSuffix(line, "\r"))
	}
	return strings.TrimRight(strings.Join(lines, "\n    "), "\n ")
}

// plainText is msg of a JSON object that has level and msg, text both, and nothing else; other messages are as they are.
func plainText(message string) string {
	var members map[string]json.RawMessage
	if !strings.HasPrefix(message, "{") || json.Unmarshal([]byte(message), &members) != nil || len(members) != 2 {
		return message
	}
	var level, msg string
	if json.Unmarshal(members["level"], &level) != nil || json.Unmarshal(members["msg"], &msg) != nil {
		return message
	}
	return msg
}
