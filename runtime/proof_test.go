package runtime

import (
	"crypto/ed25519"
	"errors"
	"testing"
)

func newKey(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func TestDeployProven(t *testing.T) {
	w := open(t)
	code := constant(t, "x")
	public, private := newKey(t)
	if f, err := w.DeployProven(t.Context(), "f", code, Config{}, Proof{Digest: digestOf(code)}); err != nil || f.Version != 1 || f.SignedBy != "" {
		t.Errorf("%+v: %v", f, err)
	}
	for field, proof := range map[string]Proof{"digest": {Digest: digestOf([]byte("other"))}, "signature": {Signature: []byte("short")}} {
		var refused *FieldError
		if _, err := w.DeployProven(t.Context(), "g", code, Config{}, proof); !errors.As(err, &refused) || refused.Field != field {
			t.Errorf("%+v: %v, want a refusal of %s", proof, err, field)
		}
	}
	// Without one, a signature is not passed over, be it right or wrong.
	for _, text := range []string{digestOf(code), "another"} {
		var refused *FieldError
		_, err := w.Submit(t.Context(), "g", code, Config{}, Proof{Signature: ed25519.Sign(private, []byte(text))})
		if !errors.As(err, &refused) || refused.Field != "signature" || !errors.Is(err, ErrInvalid) {
			t.Errorf("a signature that nobody can check: %v", err)
		}
	}
	if _, err := w.Get("g"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}

	// With a list of keys, only what is signed comes in.
	other, foreign := newKey(t)
	w = reopen(t, w.stores, func(o *Options) { o.Trust = []ed25519.PublicKey{other, public} })
	sign := func(key ed25519.PrivateKey, code []byte) Proof {
		return Proof{Signature: ed25519.Sign(key, []byte(digestOf(code)))}
	}
	_, stranger := newKey(t)
	for name, proof := range map[string]Proof{"nothing": {}, "a stranger": sign(stranger, code), "for other code": sign(private, []byte("other"))} {
		if _, err := w.DeployProven(t.Context(), "f", code, Config{}, proof); !errors.Is(err, ErrUntrusted) {
			t.Errorf("signed by %s: %v", name, err)
		}
	}
	if _, err := w.Deploy(t.Context(), "f", code, Config{}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("deployed without a proof: %v", err)
	}
	if w.mustAsk(t, "f", "") != "x" {
		t.Error("a version from before the list does not serve")
	}
	next := constant(t, "y")
	f, err := w.DeployProven(t.Context(), "f", next, Config{}, sign(private, next))
	if err != nil || f.Version != 2 || f.SignedBy != KeyID(public) {
		t.Errorf("%+v: %v", f, err)
	}
	if _, err := w.Rollback(t.Context(), "f", 1); !errors.Is(err, ErrUntrusted) {
		t.Errorf("going back to unsigned code: %v", err)
	}
	last := constant(t, "z")
	if _, err := w.DeployProven(t.Context(), "f", last, Config{}, sign(foreign, last)); err != nil {
		t.Error(err)
	}
	if f, err = w.Rollback(t.Context(), "f", 2); err != nil || f.Version != 4 || f.SignedBy != KeyID(public) {
		t.Errorf("going back to signed code: %+v: %v", f, err)
	}

	// Other settings for signed code need no other signature, and those for unsigned code are refused.
	slower := Config{Timeout: 2 * MinTimeout}
	if _, err := w.Configure(t.Context(), "f", 1, slower); !errors.Is(err, ErrUntrusted) {
		t.Errorf("other settings for unsigned code: %v", err)
	}
	if f, err = w.Configure(t.Context(), "f", 0, slower); err != nil {
		t.Fatal(err)
	}
	if f = w.settled(t, "f"); f.Version != 5 || f.SignedBy != KeyID(public) || f.Config.Timeout != slower.Timeout {
		t.Errorf("other settings for signed code: %+v", f)
	}

	// Who signed is remembered; a key that is struck off does not come back by way of an old version.
	w = reopen(t, w.stores, func(o *Options) { o.Trust = []ed25519.PublicKey{other} })
	if f, err = w.Get("f"); err != nil || f.SignedBy != KeyID(public) || f.Versions[0].SignedBy != "" {
		t.Errorf("%+v: %v", f, err)
	}
	if _, err := w.Rollback(t.Context(), "f", 2); !errors.Is(err, ErrUntrusted) {
		t.Errorf("going back to code of a key that is struck off: %v", err)
	}
	if f, err = w.Rollback(t.Context(), "f", 3); err != nil || f.SignedBy != KeyID(other) {
		t.Errorf("%+v: %v", f, err)
	}
}
