package field

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSentences(t *testing.T) {
	for _, test := range []struct {
		err  *Error
		want string
	}{
		{Invalid("shards", "0", "1 to 1000"), "shards is 0; it must be 1 to 1000"},
		{Invalid("name", "", "1 to 128 characters"), `name is ""; it must be 1 to 128 characters`},
		{Invalid("name", `a"b`, "letters"), `name is "a\"b"; it must be letters`},
		{Invalid("data", "17 bytes", "at most 16 bytes"), "data is 17 bytes; it must be at most 16 bytes"},
		{Invalid("name", "17; rm", "letters"), `name is "17; rm"; it must be letters`},
		{Invalid("name", "-", "letters"), `name is "-"; it must be letters`},
		{Invalid("retention", "59m0s", "1h to 365d"), "retention is 59m0s; it must be 1h to 365d"},
		{&Error{Field: "code", Problem: "does not export memory"}, "code does not export memory"},
		{&Error{Field: "code", Problem: "exports memory as a function", Limit: "a module that exports it as a memory"}, "code exports memory as a function; it must be a module that exports it as a memory"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%+v reads %q, want %q", *test.err, got, test.want)
		}
		if err := fmt.Errorf("create: %w", test.err); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v is no ErrInvalid", err)
		}
	}
}

func TestLongValuesAreCut(t *testing.T) {
	e := Invalid("name", strings.Repeat("ä", 1000), "short")
	if len(e.Value) > 110 || !strings.HasSuffix(e.Value, "…") || strings.ContainsRune(e.Value, '\uFFFD') {
		t.Errorf("the value is shown as %q", e.Value)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Millisecond: "1ms", time.Hour: "1h", 24 * time.Hour: "24h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 365 * 24 * time.Hour: "365d",
		90 * time.Second: "1m30s", 15 * time.Minute: "15m", -time.Second: "-1s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}
