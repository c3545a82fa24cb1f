package main

import "testing"

func TestLogText(t *testing.T) {
	for message, want := range map[string]string{
		"":         "",
		"one line": "one line",
		"error: bad\n    at f (a.ts:1:2)\n\tin C":       "error: bad\n        at f (a.ts:1:2)\n        in C",
		"bell\a\nred \x1b[31m\r\n":                      `"bell\a"` + "\n    " + `"red \x1b[31m"`,
		"a\n\nb":                                        "a\n    \n    b",
		`{"level":"warn","msg":"a\nb"}`:                 "a\n    b",
		`{"level":"warn","msg":"{\"level\":1}"}`:        `{"level":1}`,
		`{"level":"warn","msg":"a","user":7}`:           `{"level":"warn","msg":"a","user":7}`,
		`{"level":"warn","msg":7}`:                      `{"level":"warn","msg":7}`,
		`{"level":"warn","msg":"a"} and more`:           `{"level":"warn","msg":"a"} and more`,
		`{"time":"2026-11-21T00:00:00Z","msg":"a"}`:     `{"time":"2026-11-21T00:00:00Z","msg":"a"}`,
		"{\"level\":\"warn\",\n\"msg\":\"\\u001b[2J\"}": `"\x1b[2J"`,
	} {
		if got := logText(message); got != want {
			t.Errorf("%q is shown as %q, want %q", message, got, want)
		}
	}
}
