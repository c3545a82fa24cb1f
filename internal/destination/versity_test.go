package destination

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// versity is an S3 server that checks signatures and checksums, and keeps objects as files: Versity's gateway, in a process of its own, with a folder for
// each bucket. "make conformance" installs it.
type versity struct {
	data    string
	addr    string
	process *exec.Cmd
}

const installed = "../../api/aws/conformance/.bin/versitygw"

func startVersity(t *testing.T, data, addr string) *versity {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if err != nil {
		program, err = filepath.Abs(installed)
	}
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Skip("NOT TESTED: an S3 server that checks signatures: versitygw is not here; api/aws/conformance/install installs it")
	}
	if addr == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = l.Addr().String()
		_ = l.Close()
	}
	v := &versity{data: data, addr: addr}
	v.process = exec.CommandContext(t.Context(), program, "--access", "ACCESS", "--secret", "a/secret+key", "--port", v.addr, "posix", "--nometa", v.data)
	if err := v.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	for tick := time.NewTicker(20 * time.Millisecond); ; { // it says that it listens before it does
		conn, err := net.Dial("tcp", v.addr)
		if err == nil {
			tick.Stop()
			_ = conn.Close()
			return v
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(err)
		}
	}
}

func (v *versity) kill() {
	_ = v.process.Process.Kill()
	_ = v.process.Wait()
}

func (v *versity) settings() S3 {
	return S3{Endpoint: "http://" + v.addr, AccessKey: "ACCESS", SecretKey: "a/secret+key", PathStyle: true}
}

func TestVersity(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	v := startVersity(t, data, "")
	d := open(t, Options{S3: v.settings()})
	doc := testDocument()
	const uri = "s3://bucket/year=2026/(a)!*'/"
	if err := d.Check(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Deliver(t.Context(), uri, doc); err != nil {
			t.Fatal(err)
		}
	}
	wantFile(t, filepath.Join(data, "bucket"), "year=2026/(a)!*'/"+testKey, string(doc.Whole))
	wantRefused(t, d, "s3://other", `there is no bucket "other"`)
	wantFailure(t, d.Deliver(t.Context(), "s3://other", doc), true, "NoSuchBucket")

	wrong := v.settings()
	wrong.SecretKey = "another"
	refused := open(t, Options{S3: wrong})
	wantRefused(t, refused, uri, "status 403")
	wantFailure(t, refused.Deliver(t.Context(), uri, doc), true, "StatusCode: 403") // it closes the connection, at times before its reasons are read

	// The server dies, and comes back.
	v.kill()
	doc.Key, doc.Whole = testKey+"-again", bytes.Repeat([]byte("x"), 6<<20)
	wantFailure(t, d.Deliver(t.Context(), uri, doc), false, "connection refused")
	startVersity(t, data, v.addr)
	if err := d.Deliver(t.Context(), uri, doc); err != nil {
		t.Fatal(err)
	}
	name, err := filepath.Glob(filepath.Join(data, "bucket/year=2026/*/aws/lambda/*/*/*/*/*/*-again"))
	if err != nil || len(name) != 1 {
		t.Fatal(name, err)
	}
	if got, err := os.ReadFile(name[0]); err != nil || !bytes.Equal(got, doc.Whole) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
