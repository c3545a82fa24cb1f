package runtime

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestGrantLimits(t *testing.T) {
	secrets, env := []string{}, map[string]string{}
	for i := range MaxSecrets + 1 {
		secrets = append(secrets, fmt.Sprint("s", i))
	}
	for i := range MaxEnv {
		env[fmt.Sprint("V", i)] = ""
	}
	more := maps.Clone(env)
	more["V"] = ""
	for _, c := range []struct {
		config Config
		field  string // "" is allowed
	}{
		{Config{Secrets: secrets[:MaxSecrets]}, ""},
		{Config{Secrets: secrets}, "secrets"},
		{Config{Secrets: []string{strings.Repeat("s", 128)}}, ""},
		{Config{Secrets: []string{strings.Repeat("s", 129)}}, "secrets"},
		{Config{Secrets: []string{""}}, "secrets"},
		{Config{Secrets: []string{"a b"}}, "secrets"},
		{Config{Env: env}, ""},
		{Config{Env: more}, "env"},
		{Config{Env: map[string]string{"": "x"}}, "env"},
		{Config{Env: map[string]string{"1A": "x"}}, "env"},
		{Config{Env: map[string]string{"A=B": "x"}}, "env"},
		{Config{Env: map[string]string{"_a1": "="}}, ""},
		{Config{Env: map[string]string{strings.Repeat("n", 129): ""}}, "env"},
		{Config{Env: map[string]string{"A": "a\x00b"}}, "env"},
		{Config{Env: map[string]string{"A": "\xff"}}, "env"},
		{Config{Env: map[string]string{"A": strings.Repeat("v", MaxEnvBytes-1)}}, ""},
		{Config{Env: map[string]string{"A": strings.Repeat("v", MaxEnvBytes)}}, "env"},
	} {
		_, err := c.config.normalize()
		var field *FieldError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%.200v: %v", c.config, err)
		case c.field != "" && (!errors.As(err, &field) || field.Field != c.field || len(err.Error()) > 300):
			t.Errorf("%.200v: %v, want an error about %s", c.config, err, c.field)
		}
	}
}

func TestEnvIsNotShared(t *testing.T) {
	env := map[string]string{"A": "1"}
	c, err := Config{Env: env}.normalize()
	env["A"] = "2"
	if err != nil || c.Env["A"] != "1" {
		t.Errorf("%v, %v", c.Env, err)
	}
}

// Every field of a configuration decides whether it is another one.
func TestConfigEqual(t *testing.T) {
	base := Config{}
	for name, other := range map[string]Config{
		"timeout": {Timeout: 1}, "memory": {MemoryBytes: 1}, "concurrency": {Concurrency: 1}, "emit": {Emit: []string{"a"}},
		"secrets": {Secrets: []string{"a"}}, "state": {State: []string{"a"}}, "env": {Env: map[string]string{"A": ""}},
	} {
		if base.equal(other) || other.equal(base) || !other.equal(other) {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestAgainst(t *testing.T) {
	older := Config{Emit: []string{"a", "b"}, Secrets: []string{"old"}, Env: map[string]string{"SAME": "1", "GONE": "2", "CHANGED": "3"}}
	newer := Config{Emit: []string{"b", "c"}, Secrets: []string{"new", "old"}, Env: map[string]string{"SAME": "1", "CHANGED": "4"}}
	got := newer.Against(older)
	if want := []string{`emit to stream "c"`, `read secret "new"`, `see variable CHANGED as "4"`}; !slices.Equal(got.Gained, want) {
		t.Errorf("gained %q", got.Gained)
	}
	if want := []string{`emit to stream "a"`, `see variable CHANGED as "3"`, `see variable GONE as "2"`}; !slices.Equal(got.Lost, want) {
		t.Errorf("lost %q", got.Lost)
	}
	if back := older.Against(newer); !slices.Equal(back.Gained, got.Lost) || !slices.Equal(back.Lost, got.Gained) {
		t.Errorf("the reverse is %q", back)
	}
	if same := newer.Against(newer); same.Gained != nil || same.Lost != nil {
		t.Errorf("against itself: %q", same)
	}
}
