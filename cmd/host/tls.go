package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// certificate is the certificate of the API's listener, read from two PEM files and read anew when they change, so that a renewed one is
// taken without a restart.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	stamp   [2]fileStamp // of the files that current was read from, or that could not be read
	checked time.Time
}

// fileStamp tells two states of a file apart.
type fileStamp struct {
	modified time.Time
	size     int64
}

// certificateCheck is how often, at most, handshakes look whether the files have changed.
const certificateCheck = time.Second

// openCertificate reads a certificate chain and its key. It needs both files or none; without files it is nil.
func openCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case certFile == "":
		return nil, usagef("--tls-key is given without --tls-cert; TLS needs both")
	case keyFile == "":
		return nil, usagef("--tls-cert is given without --tls-key; TLS needs both")
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger, stamp: stampsOf(certFile, keyFile), checked: time.Now()}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", certFile, keyFile, err)
	}
	c.current = &pair
	return c, nil
}

func stampsOf(files ...string) (stamps [2]fileStamp) {
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			stamps[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// listener speaks TLS 1.2 or newer on another listener's connections, with the certificate as it is at each handshake.
//
// What it accepts does not show that it is TLS. A server then tells HTTP/1.1 and HTTP/2 apart by a connection's first bytes, as it does
// without TLS, and so serves the clients that speak HTTP/2 at once and negotiate nothing: the AWS SDK for Java is one.
func (c *certificate) listener(l net.Listener) net.Listener {
	return plainListener{tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.get(), nil
		},
	})}
}

// plainListener hides what its connections are.
type plainListener struct{ net.Listener }

// Accept waits for a connection; its handshake is made by its first read.
func (l plainListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{conn}, nil
}

// get is the newest certificate that could be read. Files that do not fit each other, as in the middle of a renewal, leave the one
// before in use.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certificateCheck {
		return c.current
	}
	c.checked = time.Now()
	stamp := stampsOf(c.certFile, c.keyFile)
	if stamp == c.stamp {
		return c.current
	}
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.logger.Error("the changed TLS certificate cannot be used; the one before stays", "cert", c.certFile, "key", c.keyFile, "error", err)
		return c.current
	}
	c.logger.Info("the TLS certificate has been read anew", "cert", c.certFile)
	c.current = &pair
	return c.current
}
