package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const readerSource = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnInvoke(func(ctx context.Context, in []byte) ([]byte, error) {
		value, err := sdk.Secret(ctx, string(in))
		fmt.Println("the value is", string(value))
		return fmt.Appendf(nil, "%d bytes, LEVEL=%s", len(value), os.Getenv("LEVEL")), err
	})
}

func main() {}
`

// A secret is set, granted, read, and taken away again, by way of the command line; its value is nowhere to be seen.
func TestSecretVerbs(t *testing.T) {
	t.Parallel()
	dir := sdkFunction(t, "reader", readerSource)
	writeFile(t, filepath.Join(dir, manifestFile), "secrets: [token]\nenv: {LEVEL: debug}\n")
	wasm, file := filepath.Join(t.TempDir(), "reader.wasm"), filepath.Join(t.TempDir(), "value")
	writeFile(t, file, "hunter3hunter3\n")
	var log strings.Builder
	h := testHost(t, func(c *hostConfig) { c.logger, _ = newLogger(&lockedWriter{w: &log}, "debug", "text", nil) })
	play(t, h, map[string]string{"DIR": dir, "WASM": wasm, "FILE": file}, []step{
		{line: "secret list", stdout: `^NAME +CREATED +SET\n$`},
		{line: "function build DIR -o WASM", stdout: `built`},
		{line: "function deploy f WASM", status: exitFailure, stderr: `^shardmill: code imports shardmill.secret, which its configuration does not grant`},
		{line: "function deploy f DIR", stdout: `May read: +token\n.*Variables: +LEVEL=debug\n`, stderr: `^there is no secret "token" yet: .*"shardmill secret set token"\n$`},
		{line: "function invoke f token", status: exitFailure, stderr: `not found: the host has no secret "token"`},
		{line: "secret set token", stdin: "hunter2hunter2\r\n", stdout: `^Name: +token\n`},
		{line: "function invoke f token", stdout: `^14 bytes, LEVEL=debug$`},
		{line: "function invoke f other", status: exitFailure, stderr: `not granted`},
		{line: "secret set token --file FILE", stdout: `^Name: +token\n`},
		{line: "function invoke f token", stdout: `^15 bytes`},
		{line: "secret set token --file none", status: exitFailure, stderr: `none`},
		{line: "secret set token", status: exitFailure, stderr: `value is 0 bytes; it must be 1 to 65536 bytes`},
		{line: "secret set token", stdin: strings.Repeat("hunter4", 10_000), status: exitFailure, stderr: `larger than 64KiB`},
		{line: "secret set 'odd name'", stdin: "x", status: exitFailure, stderr: `name is "odd name"; it must be`},
		{line: "secret set", status: exitUsage, stderr: `needs NAME`},
		{line: "secret list --output json", stdout: `^{"name":"token","created":"[^"]+","modified":"[^"]+"}\n$`},
		{line: "__complete function deploy f x.wasm --secret ''", stdout: `^token\n:4\n$`, stderr: `.`},
		{line: "function logs f", stdout: `the value is \[secret\]`},
		{line: "function deploy f DIR --env LEVEL=info --env A=1,2", stdout: `Variables: +A=1,2, LEVEL=info\n.*\nUnlike version 1\n  \+ it may see variable A as "1,2"\n  \+ it may see variable LEVEL as "info"\n  - it may no longer see variable LEVEL as "debug"\n`},
		{line: "function deploy f DIR --env LEVEL", status: exitUsage, stderr: `--env is "LEVEL"; it must be NAME=VALUE`},
		{line: "function deploy f DIR --secret other --output json", stdout: `"change":{"against":2,"gained":\["read secret \\"other\\"","see variable LEVEL as \\"debug\\""\],"lost":\["read secret \\"token\\"",`, stderr: `no secret "other" yet`},
		{line: "secret delete token", stdout: `secret token deleted`},
		{line: "secret delete token", status: exitFailure, stderr: `^shardmill: There is no secret "token"; "shardmill secret list" shows those there are\n$`},
	})
	if strings.Contains(log.String(), "hunter") {
		t.Error("the host's log has a value")
	}
	info, err := os.Stat(h.dir.secretsKey())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	err = filepath.WalkDir(h.dir.path, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "hunter") {
			t.Errorf("%s has a value", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A key that is given has to be there, and good, and is the one that is used.
func TestSecretsKey(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	config := hostConfig{dataDir: t.TempDir(), listen: freePort, adminListen: freePort, logger: slog.New(slog.DiscardHandler), secretsKey: key}
	if _, err := startHost(t.Context(), config); err == nil || !strings.Contains(err.Error(), key) {
		t.Fatalf("started with a key file that is not there: %v", err)
	}
	writeFile(t, key, "not a key")
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := startHost(t.Context(), config); err == nil || !strings.Contains(err.Error(), "age-keygen") {
		t.Fatalf("started with a key file that has none: %v", err)
	}
}
