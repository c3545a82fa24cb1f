//go:build conformance

package conformance

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the host that is tested, built once.
var binary string

// TestMain builds the host that all tests run.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "shardmill")
	build := exec.Command("go", "build", "-o", binary, "../../../cmd/host")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

var readyLine = regexp.MustCompile(`host is ready.* api=(\S+)`)

// startHost runs a host on a free port until the test ends and gives its URL; with TLS its certificate is signed by nobody. The test fails when it logs
// an error that has none of the texts expected.
func startHost(t *testing.T, withTLS bool, expected ...string) string {
	t.Helper()
	args := []string{"serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}
	if withTLS {
		cert, key := writeCertificate(t)
		args = append(args, "--tls-cert", cert, "--tls-key", key)
	}
	cmd := exec.Command(binary, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			} else if strings.Contains(lines.Text(), "level=ERROR") && !slices.ContainsFunc(expected, func(text string) bool { return strings.Contains(lines.Text(), text) }) {
				t.Errorf("host: %s", lines.Text())
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("host: %v", err)
		}
	})
	select {
	case url := <-ready:
		return url
	case <-ended:
		t.Fatal("the host ended before it was ready")
	case <-time.After(30 * time.Second):
		t.Fatal("the host was not ready in 30 s")
	}
	return ""
}

func writeCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shardmill conformance"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(file, kind string, bytes []byte) {
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certFile, "CERTIFICATE", der)
	write(keyFile, "PRIVATE KEY", secret)
	return certFile, keyFile
}

// need skips the test, with a word of how to get it, when a client has not been installed.
func need(t *testing.T, file string) string {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		return file
	}
	path, err := exec.LookPath(file)
	if err != nil {
		t.Skipf("SKIPPED: %s is not here; ./install in this folder installs what it can", file)
	}
	return path
}

// run runs a client to its end and gives what it printed; the test fails when it does.
func run(t *testing.T, limit time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION=us-east-1", "PYTHONWARNINGS=ignore")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
