package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
)

// opensslKeys makes a pair of keys as an operator would.
func opensslKeys(t *testing.T, algorithm ...string) (private, public string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: no openssl on the PATH; apt-get install openssl provides it")
	}
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.pub")
	for _, args := range [][]string{
		append([]string{"genpkey", "-out", private, "-algorithm"}, algorithm...),
		{"pkey", "-in", private, "-pubout", "-out", public},
	} {
		if text, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, text)
		}
	}
	return private, public
}

// A host with trusted keys takes what is signed with one of them and nothing else, by way of the command line.
func TestSignedUploads(t *testing.T) {
	t.Parallel()
	private, public := opensslKeys(t, "ed25519")
	foreign, foreignPublic := opensslKeys(t, "ed25519")
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	writeFile(t, trusted, readString(t, public)+readString(t, foreignPublic))
	stranger, _ := opensslKeys(t, "ed25519")
	rsa, _ := opensslKeys(t, "rsa")
	wasm := filepath.Join(t.TempDir(), "f.wasm")
	if err := buildFunction(t.Context(), delaysDir, wasm); err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(wasm)
	if err != nil {
		t.Fatal(err)
	}
	h := testHost(t, func(c *hostConfig) { c.trustKeys = trusted })
	files := map[string]string{"WASM": wasm, "KEY": private, "FOREIGN": foreign, "STRANGER": stranger, "RSA": rsa, "DIGEST": moduleDigest(module)}
	play(t, h, files, []step{
		{line: "stream create delays", stdout: `.`},
		{line: "function deploy f WASM --emit delays", status: exitFailure, stderr: `not signed with a trusted key; .*--sign`},
		{line: "function deploy f WASM --emit delays --sign STRANGER", status: exitFailure, stderr: `not signed with a trusted key`},
		{line: "function deploy f WASM --emit delays --sign RSA", status: exitUsage, stderr: `must be an ed25519 key`},
		{line: "function deploy f WASM --emit delays --sign WASM", status: exitUsage, stderr: `no PEM block`},
		{line: "function deploy f WASM --emit delays --sign none.pem", status: exitFailure, stderr: `none.pem`},
		{line: "function list", stdout: `^NAME[^\n]*\n$`},
		{line: "function deploy f WASM --emit delays --sign KEY --digest sha256:0", status: exitFailure, stderr: `digest is not that of the code`},
		{line: "function deploy f WASM --emit delays --sign KEY --digest DIGEST", stdout: `Version: +1\n.*Signed by: +[0-9a-f]{16}\n`},
		{line: "function deploy f WASM --emit delays --sign FOREIGN", stdout: `Version: +2\n`},
		{line: "function deploy f WASM --emit delays --sign FOREIGN", stdout: `Version: +2\n`},
	})
}

// The signature is the one that OpenSSL makes over the text of the digest.
func TestSignatureIsOpenSSLs(t *testing.T) {
	private, _ := opensslKeys(t, "ed25519")
	module := []byte("\x00asm\x01\x00\x00\x00")
	own, err := signModule(private, module)
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "digest")
	writeFile(t, text, moduleDigest(module))
	theirs, err := exec.Command("openssl", "pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", text).Output()
	if err != nil || string(own) != string(theirs) {
		t.Errorf("the signatures differ: %v", err)
	}
}

// signingKey is a file with a private key.
func signingKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return file
}

func TestReadTrustRefuses(t *testing.T) {
	_, rsa := opensslKeys(t, "rsa")
	private, _ := opensslKeys(t, "ed25519")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	writeFile(t, empty, "nothing here\n")
	for file, says := range map[string]string{rsa: "must be an ed25519 key", private: "must be PUBLIC KEY", empty: "has no key", "none.pem": "none.pem"} {
		if keys, err := readTrust(file); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %d keys, %v; want an error that says %q", file, len(keys), err, says)
		}
	}
	if keys, err := readTrust(""); err != nil || keys != nil {
		t.Errorf("no file: %v, %v", keys, err)
	}
}

// The version that a mapping names is kept, however many come after it.
func TestVersionOfAMappingIsKept(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	wasm := filepath.Join(t.TempDir(), "f.wasm")
	if err := buildFunction(t.Context(), delaysDir, wasm); err != nil {
		t.Fatal(err)
	}
	steps := []step{
		{line: "stream create flights", stdout: `.`},
		{line: "stream create delays", stdout: `.`},
		{line: "function deploy f WASM --emit delays", stdout: `Version: +1\n`},
		{line: "mapping create m --stream flights --function f --qualifier 1", stdout: `enabled`},
	}
	for ms := range runtime.DefaultKeepVersions + 1 {
		steps = append(steps, step{line: fmt.Sprintf("function deploy f WASM --timeout %dms", 2000+ms), stdout: `.`})
	}
	steps = append(steps,
		step{line: "function describe f --output json", stdout: `"versions":\[{"version":1,.*{"version":4,`},
		step{line: "stream put flights FEED --key origin", stdout: `^20,000 records put`},
		step{line: "stream tail delays --from oldest --limit 1", stdout: `flights`},
	)
	play(t, h, map[string]string{"WASM": wasm, "FEED": flights}, steps)
}
