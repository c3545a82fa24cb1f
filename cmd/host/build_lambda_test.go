package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api"
)

const lambdaDir = "testdata/lambda"

// TestLambdaFunction deploys a program as it was written for Lambda, and calls it in every way.
func TestLambdaFunction(t *testing.T) {
	t.Parallel()
	module := filepath.Join(t.TempDir(), "lambda.wasm")
	if err := buildFunction(t.Context(), lambdaDir, module); err != nil {
		t.Fatal(err)
	}
	h := testHost(t)
	client := clientOf(t, h)
	deployFile(t, client, "from-lambda", module)
	const good = `{"Order":["init","last init","main"],"Deadline":true,"Request":true,"Function":"from-lambda"}`
	for _, tt := range []struct{ in, body, failure string }{
		{in: `{}`, body: good},
		{in: `{"Do":"wait"}`, body: good},
		{in: `{"Do":"fail"}`, failure: "it failed"},
		{in: `{"Do":"panic"}`, failure: "it panicked"},
		{in: `{"Do":"print"}`, body: good},
		{in: `[]`, failure: "json: cannot unmarshal array into Go value of type main.event"},
	} {
		i, err := client.Invoke(t.Context(), "from-lambda", "", []byte(tt.in))
		if string(i.Body) != tt.body {
			t.Errorf("%s is answered with %s, want %s", tt.in, i.Body, tt.body)
		}
		problem := (*api.Problem)(nil)
		if tt.failure == "" && err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if tt.failure != "" && (!errors.As(err, &problem) || problem.Function == nil || problem.Function.Message != tt.failure) {
			t.Errorf("%s: %v, want %s", tt.in, err, tt.failure)
		}
	}
	// The same source gives the same module.
	again := filepath.Join(t.TempDir(), "again.wasm")
	if err := buildFunction(t.Context(), lambdaDir, again); err != nil {
		t.Fatal(err)
	}
	if readString(t, again) != readString(t, module) {
		t.Error("the same source gave different modules")
	}
}

// TestLambdaCommand runs the same program by itself: one event in, one answer out.
func TestLambdaCommand(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", program, "../../functions/examples/lambda-payments").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for in, want := range map[string]struct {
		out, errs string
		status    int
	}{
		`{"Records":[],"state":{}}`:      {out: `{"state":{},"batchItemFailures":null}`},
		`{"Records":[],"state":{"m":1`:   {errs: `{"errorMessage":"unexpected end of JSON input","errorType":"SyntaxError"}`, status: 1},
		`{"Records":[],"state":{"m":1}}`: {errs: `"errorType":"UnmarshalTypeError"}`, status: 1},
	} {
		cmd := exec.Command(program)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if out.String() != want.out || !strings.Contains(errs.String(), want.errs) || cmd.ProcessState.ExitCode() != want.status {
			t.Errorf("%s: %q, %q, status %d", in, out.String(), errs.String(), cmd.ProcessState.ExitCode())
		}
	}
}

// TestLambdaInit has programs that need no init, or one that does more.
func TestLambdaInit(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		delaysDir: "", "../../sdk/lambda": "", filepath.Join(t.TempDir(), "missing"): "",
		lambdaDir: lambdaInitContext, "../../functions/examples/lambda-payments": lambdaInitPlain,
	} {
		if got := string(lambdaInit(goPackages(t.Context(), dir))); got != want {
			t.Errorf("%s gets\n%s\nwant\n%s", dir, got, want)
		}
	}
	overlay, remove, err := overlayFile(lambdaDir, lambdaInitName(lambdaDir), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if folder, err := filepath.Abs(lambdaDir); err != nil || !strings.Contains(readString(t, overlay), filepath.Join(folder, "zzz_shardmill_lambda.go")) {
		t.Errorf("%s, %v", readString(t, overlay), err)
	}
	remove()
	if _, err := os.Stat(filepath.Dir(overlay)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the overlay stays: %v", err)
	}
}
