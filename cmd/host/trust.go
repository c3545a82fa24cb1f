package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
)

// readTrust reads the ed25519 public keys of a PEM file, one or more blocks PUBLIC KEY as OpenSSL writes them. An empty name is
// no keys: code need not be signed.
func readTrust(file string) ([]ed25519.PublicKey, error) {
	if file == "" {
		return nil, nil
	}
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--trust-keys: %w", err)
	}
	var keys []ed25519.PublicKey
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := parsePublic(block)
		if err != nil {
			return nil, usagef("--trust-keys %s: key %d: %v", file, len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, usagef("--trust-keys %s has no key; it must have PEM blocks PUBLIC KEY with ed25519 keys", file)
	}
	return keys, nil
}

func parsePublic(block *pem.Block) (ed25519.PublicKey, error) {
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("a PEM block %s; it must be PUBLIC KEY", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a %T; it must be an ed25519 key", key)
	}
	return public, nil
}

// signModule signs the digest of a module with the ed25519 key in a PEM file (PRIVATE KEY, as OpenSSL writes it).
func signModule(file string, module []byte) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, usagef("--sign %s has no PEM block PRIVATE KEY; make one with: openssl genpkey -algorithm ed25519", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, usagef("--sign %s: %v", file, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, usagef("--sign %s has a %T; it must be an ed25519 key", file, key)
	}
	return ed25519.Sign(private, []byte(moduleDigest(module))), nil
}

// moduleDigest names a module: "sha256:<hex>".
func moduleDigest(module []byte) string {
	sum := sha256.Sum256(module)
	return "sha256:" + hex.EncodeToString(sum[:])
}
