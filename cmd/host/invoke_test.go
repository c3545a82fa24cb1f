package main

import (
	"path/filepath"
	"testing"
)

// A function transforms the lines of a file, as a delivery stream would have it do.
func TestInvokeTransform(t *testing.T) {
	t.Parallel()
	module := filepath.Join(t.TempDir(), "f.wasm")
	writeFile(t, module, string(built(t, filepath.Join("testdata", "guests", "go"))))
	lines := filepath.Join(t.TempDir(), "lines")
	writeFile(t, lines, "as it is\n\ndrop no use\r\ntwice b\nreject broken\n{\"n\":1}")
	events := filepath.Join(t.TempDir(), "events")
	writeFile(t, events, `{"user":{"id":7}}`+"\n"+`{"user":{}}`+"\n")
	play(t, testHost(t), map[string]string{"WASM": module, "LINES": lines, "EVENTS": events}, []step{
		{line: "function deploy f WASM --fuel 900000000", stdout: `Handles: +batch, windowClose, transform, invoke\n.*\n.*\nFuel: +900,000,000 `},
		{line: "function invoke f --transform --file LINES", stdout: `^as it is\nb of 4\ntwice b\n{"n":1}\n$`, stderr: `^record 2 was dropped \(no use\)\nrecord 4 was rejected \(broken\)\n3 records go on, 1 dropped, 1 rejected\n$`},
		{line: "function invoke f --transform --file LINES --version 1 --output json", stdout: `^{"result":"ok","records":\[{"partitionKey":"1","text":"as it is"}\]}\n{"result":"dropped","reason":"no use"}\n`},
		{line: "function invoke f --transform --file EVENTS --key /user/id", status: exitFailure, stderr: `line 2: --key is "/user/id"; it must be where each line has a string`},
		{line: `function invoke f '{"user":{"id":7}}' --transform --key /user/id --output json`, stdout: `"partitionKey":"7"`},
		{line: "function invoke f line --transform --key user", status: exitFailure, stderr: `line 1: it is not valid JSON`},
		{line: "function invoke f --transform", status: exitFailure, stderr: `records is empty`},
		{line: "function invoke f --key user", status: exitUsage, stderr: `--key goes with --transform`},
		{line: "function invoke f x --version 1 --alias y", status: exitUsage, stderr: `--version or --alias, not both`},
		{line: "function invoke f x --file LINES", status: exitUsage, stderr: `BODY or --file, not both`},
		{line: "function invoke none --transform x", status: exitFailure, stderr: `no function "none"`},
		{line: "function invocations f", stdout: `transform`},
	})
}
