package runtime

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfigDefaults(t *testing.T) {
	c, err := Config{}.normalize()
	if err != nil || c.Timeout != 3*time.Second || c.MemoryBytes != 128<<20 || c.Concurrency < 4 || c.IdleBytes != 1<<30 || len(c.Emit) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	again, err := c.normalize()
	if err != nil || !again.equal(c) {
		t.Errorf("normalized again: %+v, %v", again, err)
	}
}

func TestConfigLimits(t *testing.T) {
	streams := strings.Split(strings.Repeat("s", MaxEmit+1), "")
	for i := range streams {
		streams[i] += string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	for _, c := range []struct {
		config Config
		field  string // "" is allowed
	}{
		{Config{Timeout: time.Millisecond}, ""},
		{Config{Timeout: time.Millisecond - 1}, "timeout"},
		{Config{Timeout: 15 * time.Minute}, ""},
		{Config{Timeout: 15*time.Minute + 1}, "timeout"},
		{Config{MemoryBytes: 1 << 20}, ""},
		{Config{MemoryBytes: 1<<20 - 1}, "memory"},
		{Config{MemoryBytes: 4096 << 20}, ""},
		{Config{MemoryBytes: 4096<<20 + 1}, "memory"},
		{Config{Concurrency: 1000}, ""},
		{Config{IdleBytes: 1 << 20}, ""},
		{Config{IdleBytes: 1<<20 - 1}, "idleMemory"},
		{Config{IdleBytes: -1}, "idleMemory"},
		{Config{IdleBytes: 1 << 40}, ""},
		{Config{IdleBytes: 1<<40 + 1}, "idleMemory"},
		{Config{Concurrency: 1001}, "concurrency"},
		{Config{Emit: streams[:MaxEmit]}, ""},
		{Config{Emit: streams}, "emit"},
		{Config{Emit: []string{strings.Repeat("s", maxStreamNameBytes)}}, ""},
		{Config{Emit: []string{strings.Repeat("s", maxStreamNameBytes+1)}}, "emit"},
		{Config{Emit: []string{"..."}}, "emit"},
	} {
		_, err := c.config.normalize()
		var field *FieldError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%+v: %v", c.config, err)
		case c.field != "" && (!errors.As(err, &field) || field.Field != c.field || len(err.Error()) > 300):
			t.Errorf("%+v: %v, want an error about %s", c.config, err, c.field)
		}
	}
}

func TestConfigIsNotShared(t *testing.T) {
	emit := []string{"b", "a", "b"}
	c, err := Config{Emit: emit, MemoryBytes: 1<<20 + 1}.normalize()
	if err != nil || !slices.Equal(c.Emit, []string{"a", "b"}) || c.MemoryBytes != 1<<20+wasmPage {
		t.Errorf("%+v, %v", c, err)
	}
	if !slices.Equal(emit, []string{"b", "a", "b"}) {
		t.Errorf("the caller's slice was changed to %v", emit)
	}
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&FunctionError{Function: "f", Version: 3, Kind: FailTrap, Message: "unreachable"}, "function f version 3 failed (trap): unreachable"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
