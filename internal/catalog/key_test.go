package catalog

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysInSubjects(t *testing.T) {
	for key, want := range map[string]string{
		"flights": "flights", "A-b_9": "A-b_9", "a.b": "a=2Eb", "=": "=3D", "é": "=C3=A9", " ": "=20", ">": "=3E",
	} {
		if got := encodeKey(key); got != want {
			t.Errorf("%q is encoded as %q, want %q", key, got, want)
		}
	}
	if got := subject(id{"streams", "a.b"}); got != "$KV.catalog.streams.a=2Eb" {
		t.Errorf("the subject is %q", got)
	}
	if i, err := parseSubject("$KV.catalog.blobs.functions.0a"); err != nil || i != (id{"blobs.functions", "0a"}) {
		t.Errorf("%v, %v", i, err)
	}
}

func TestForeignSubjectsAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "$KV.catalog.", "$KV.catalog.t", "$KV.catalog.t.", "$KV.other.t.k", "$KV.catalog.t.=", "$KV.catalog.t.=2",
		"$KV.catalog.t.=2e", "$KV.catalog.t.=41", "$KV.catalog.t.a/b", "$KV.catalog.t.=FF", "$KV.catalog.t." + strings.Repeat("k", MaxKeyBytes+1),
	} {
		if i, err := parseSubject(s); err == nil {
			t.Errorf("%q is taken for %v", s, i)
		}
	}
}

func TestKeysRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringN(1, -1, MaxKeyBytes).Draw(t, "key")
		if checkKey(key) != nil {
			t.Skip("not a key")
		}
		if i, err := parseSubject(subject(id{"t", key})); err != nil || i.key != key {
			t.Fatalf("%q comes back as %q, %v", key, i.key, err)
		}
	})
}
