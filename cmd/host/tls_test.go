package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writeCertificate makes a self-signed certificate for 127.0.0.1 with a serial number, and the files of it.
func writeCertificate(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "shardmill test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestServesTLS(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), 1)
	h := bootHost(t, hostConfig{dataDir: t.TempDir(), tlsCert: certFile, tlsKey: keyFile})
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Errorf("stop host: %v", err)
		}
	})
	pool := x509.NewCertPool()
	chain, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(chain)
	for _, test := range []struct {
		proto      string
		negotiates bool // by ALPN; otherwise it speaks the protocol at once
	}{{"HTTP/1.1", true}, {"HTTP/2.0", true}, {"HTTP/1.1", false}, {"HTTP/2.0", false}} {
		proto := test.proto
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: new(http.Protocols)}
		defer transport.CloseIdleConnections()
		transport.Protocols.SetHTTP1(proto == "HTTP/1.1")
		transport.Protocols.SetHTTP2(proto == "HTTP/2.0")
		if !test.negotiates {
			transport.Protocols.SetUnencryptedHTTP2(proto == "HTTP/2.0")
			transport.Protocols.SetHTTP2(false)
			transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&tls.Dialer{Config: transport.TLSClientConfig}).DialContext(ctx, network, addr)
				return struct{ net.Conn }{conn}, err
			}
		}
		url := h.url()
		if !test.negotiates {
			url = "http://" + h.addr() // the transport is not to know of TLS
		}
		resp, err := (&http.Client{Transport: transport}).Get(url + "/v1/version")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || resp.Proto != proto || !strings.HasPrefix(h.url(), "https://") {
			t.Errorf("GET %s/v1/version over %s: status %d, %s", h.url(), proto, resp.StatusCode, resp.Proto)
		}
	}
}

func TestRenewedCertificateIsTaken(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writeCertificate(t, dir, 1)
	synctest.Test(t, func(t *testing.T) {
		c, err := openCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		want := func(serial int64, when string) {
			t.Helper()
			leaf, err := x509.ParseCertificate(c.get().Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			if leaf.SerialNumber.Int64() != serial {
				t.Errorf("%s: certificate %v is served, want %d", when, leaf.SerialNumber, serial)
			}
		}
		want(1, "at first")
		writeCertificate(t, dir, 2)
		time.Sleep(certificateCheck)
		want(2, "after a renewal")
		if err := os.WriteFile(keyFile, []byte("half of a key"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateCheck)
		want(2, "with a broken key file")
		writeCertificate(t, dir, 3)
		time.Sleep(certificateCheck)
		want(3, "after it was mended")
	})
}

func TestCertificateNeedsBothFiles(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), 1)
	for _, test := range []struct{ cert, key, want string }{
		{certFile, "", "--tls-cert is given without --tls-key"},
		{"", keyFile, "--tls-key is given without --tls-cert"},
		{certFile, certFile, "--tls-key " + certFile},
		{certFile, keyFile + "x", "no such file"},
	} {
		c, err := openCertificate(test.cert, test.key, slog.New(slog.DiscardHandler))
		if c != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("openCertificate(%q, %q) = %v, want an error with %q", test.cert, test.key, err, test.want)
		}
	}
	if c, err := openCertificate("", "", nil); c != nil || err != nil {
		t.Errorf("without files: %v, %v; want neither", c, err)
	}
}
