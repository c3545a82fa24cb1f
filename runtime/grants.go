package runtime

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Limits of what a configuration grants.
const (
	MaxEmit         = 32      // streams
	MaxSecrets      = 32      // granted to one function
	MaxEnv          = 64      // variables
	MaxEnvNameBytes = 128     // of a variable's name
	MaxEnvBytes     = 4 << 10 // of all names and values together

	maxStreamNameBytes = 128 // of a granted stream's name
)

// Change is what a version's configuration lets it do, and another's does not. Its parts are ends of sentences that begin with
// "it may", such as `emit to stream "delays"`, in a fixed order.
type Change struct {
	Gained []string // what only the newer one may
	Lost   []string // what only the older one may
}

// Against says what c grants and older does not, and the reverse. Both must be of a version, or empty.
func (c Config) Against(older Config) Change {
	now, before := c.grants(), older.grants()
	only := func(a, b []string) (out []string) {
		for _, g := range a {
			if !slices.Contains(b, g) {
				out = append(out, g)
			}
		}
		return out
	}
	return Change{Gained: only(now, before), Lost: only(before, now)}
}

// grants are the ends of sentences for everything that a normalized configuration grants.
func (c Config) grants() (list []string) {
	for _, stream := range c.Emit {
		list = append(list, "emit to stream "+strconv.Quote(stream))
	}
	for _, secret := range c.Secrets {
		list = append(list, "read secret "+strconv.Quote(secret))
	}
	for _, table := range c.State {
		if name, shared := strings.CutPrefix(table, sharedPrefix); shared {
			list = append(list, "use the shared state table "+strconv.Quote(name))
		} else {
			list = append(list, "keep a state table "+strconv.Quote(table)+" of its own")
		}
	}
	for _, server := range c.HTTP {
		list = append(list, "call "+server)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		list = append(list, "see variable "+name+" as "+strconv.Quote(c.Env[name]))
	}
	return list
}

// normalizeGrants sorts and checks what the configuration grants. What the caller has given is left as it was.
func (c *Config) normalizeGrants() (err error) {
	if c.Emit, err = names("emit", "streams", c.Emit, MaxEmit, maxStreamNameBytes); err != nil {
		return err
	}
	if c.Secrets, err = names("secrets", "secrets", c.Secrets, MaxSecrets, abi.MaxSecretNameBytes); err != nil {
		return err
	}
	if c.State, err = normalizeState(c.State); err != nil {
		return err
	}
	if c.HTTP, err = normalizeHTTP(c.HTTP); err != nil {
		return err
	}
	c.Env = maps.Clone(c.Env)
	return checkEnv(c.Env)
}

// sorted is the list in order, each once.
func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// names sorts granted names, each once.
func names(name, noun string, list []string, most, longest int) ([]string, error) {
	list = sorted(list)
	if len(list) > most {
		return nil, field.Invalid(name, strconv.Itoa(len(list))+" "+noun, fmt.Sprintf("at most %d", most))
	}
	for _, n := range list {
		if !validName(n, longest) {
			return nil, field.Invalid(name, n, nameRule(longest))
		}
	}
	return list, nil
}

// checkEnv refuses variables that a guest could not be given. The values are not repeated: they may be what nobody should see.
func checkEnv(env map[string]string) error {
	if len(env) > MaxEnv {
		return field.Invalid("env", strconv.Itoa(len(env))+" variables", fmt.Sprintf("at most %d", MaxEnv))
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !validVariable(name) {
			return field.Invalid("env", name, fmt.Sprintf("a variable of 1 to %d letters, digits and '_' that does not begin with a digit", MaxEnvNameBytes))
		}
		value := env[name]
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return &FieldError{Field: "env", Value: name, Problem: "gives " + name + " a value that is no text", Limit: "UTF-8 without a zero byte"}
		}
		total += len(name) + len(value)
	}
	if total > MaxEnvBytes {
		return field.Invalid("env", strconv.Itoa(total)+" bytes", fmt.Sprintf("at most %d bytes of names and values together", MaxEnvBytes))
	}
	return nil
}

func validVariable(name string) bool {
	if name == "" || len(name) > MaxEnvNameBytes || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_')
	}) < 0
}
