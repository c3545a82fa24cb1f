package runtime

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrUntrusted: the runtime has a list of trusted keys, and the code is not signed with any of them.
var ErrUntrusted = errors.New("the code is not signed with a trusted key")

// Proof is what an upload says of its code.
type Proof struct {
	// Digest, "sha256:<hex>", is what the code must have; "" asks nothing.
	Digest string
	// Signature is the ed25519 signature over the text of the digest of the code, 64 bytes; nil is none. Where
	// Options.Trust names keys, code without a signature by one of them is refused; where it names none, a signature is, because nobody can check it.
	Signature []byte
	// Language is what the code is written in; "" is a WebAssembly module.
	Language Language
}

// DeployProven is Deploy of code that has to be what the proof says. Errors besides Deploy's: a *FieldError for "digest" or
// "signature", ErrUntrusted; nothing has changed then.
func (rt *Runtime) DeployProven(ctx context.Context, name string, code []byte, config Config, proof Proof) (Function, error) {
	return rt.upload(ctx, "deploy", name, func(ctx context.Context, u *upload) (*function, error) {
		signer, err := rt.prove(digestOf(code), proof)
		if err != nil {
			return nil, err
		}
		return rt.deploy(ctx, u, code, config, proof.Language, signer)
	})
}

// prove checks a proof, and says which trusted key has signed; "" without a list of keys.
func (rt *Runtime) prove(digest string, proof Proof) (signer string, err error) {
	if proof.Digest != "" && proof.Digest != digest {
		return "", &FieldError{Field: "digest", Problem: "is not that of the code, which is " + digest, Limit: "the digest of the code, or left out"}
	}
	if proof.Signature != nil && len(proof.Signature) != ed25519.SignatureSize {
		return "", &FieldError{Field: "signature", Problem: fmt.Sprintf("has %d bytes", len(proof.Signature)), Limit: "an ed25519 signature of 64 bytes"}
	}
	if len(rt.options.Trust) == 0 && proof.Signature != nil {
		return "", &FieldError{Field: "signature", Problem: "cannot be checked: the host has no trusted keys", Limit: "left out, or sent to a host that has the key (serve --trust-keys)"}
	}
	if len(rt.options.Trust) == 0 {
		return "", nil
	}
	for _, key := range rt.options.Trust {
		if proof.Signature != nil && ed25519.Verify(key, []byte(digest), proof.Signature) {
			return KeyID(key), nil
		}
	}
	return "", ErrUntrusted
}

// trusts is whether a version may be made of code that this key once signed.
func (rt *Runtime) trusts(signer string) bool {
	for _, key := range rt.options.Trust {
		if KeyID(key) == signer {
			return true
		}
	}
	return len(rt.options.Trust) == 0
}

// KeyID names a public key: the first 16 hexadecimal digits of its SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}
