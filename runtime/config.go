package runtime

import (
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/field"
)

// Limits of a configuration, and what zero values mean.
const (
	DefaultTimeout     = 3 * time.Second
	MinTimeout         = time.Millisecond
	MaxTimeout         = 15 * time.Minute
	DefaultMemoryBytes = 128 << 20
	MinMemoryBytes     = 1 << 20
	MaxMemoryBytes     = 4096 << 20
	MaxConcurrency     = 1000
	MinFuel            = 1000
	MaxFuel            = 1_000_000_000_000_000
	DefaultIdleBytes   = 1 << 30
	MinIdleBytes       = 1 << 20
	MaxIdleBytes       = 1 << 40
	MaxNameBytes       = 64 // of a function's name

	wasmPage = 64 << 10
)

// Config is what a version may use and do. It is part of the version and as immutable as the code.
type Config struct {
	// Timeout is how long one call may run, 1 ms to 15 min; 0 means 3 s. It is also the time a new instance has
	// for its initialization.
	Timeout time.Duration
	// MemoryBytes is the limit of one instance's linear memory, 1 MiB to 4096 MiB; 0 means 128 MiB. It is rounded
	// up to WebAssembly's page of 64 KiB.
	MemoryBytes int64
	// Fuel is how many instructions, weighted as those of Reply.Fuel, one call may execute, 1000 to 10^15; 0 means as many as it has
	// time for. It does not bound the initialization of an instance.
	Fuel int64
	// Concurrency is how many calls may run at once, each in an instance of its own, 1 to 1000; 0 means twice the
	// number of processors, but at least 4.
	Concurrency int
	// IdleBytes is how much memory the version's idle instances may hold together beside the one used last, 1 MiB to 1 TiB; 0 means 1 GiB. Those
	// used longest ago are closed first. Options.IdleBytes bounds those of all functions.
	IdleBytes int64
	// Isolation is what calls have in common; "" means that an instance is used again.
	Isolation Isolation
	// Emit are the streams that the function may put records to, at most 32. Everything else is denied.
	Emit []string
	// Secrets are the secrets that the function may read, by name, at most 32.
	Secrets []string
	// State are the state tables that the function has, at most 32: NAME is one of its own for each mapping and shard that it runs for,
	// shared:NAME is one that it shares with every function that is granted it.
	State []string
	// HTTP are the servers that the function may call, at most 32: METHODS scheme://host:port, such as "POST https://hooks.example.com".
	HTTP []string
	// Env are the function's environment variables, at most 64 and 4 KiB: names of letters, digits and '_'. They are no place for
	// secrets: whoever may see the function sees them.
	Env map[string]string
}

// Isolation is what the calls of a version have in common.
type Isolation string

// The kinds of isolation. A command's calls are isolated in any case.
const (
	IsolateNone       Isolation = ""           // an instance makes one call after the other
	IsolateInstance   Isolation = "instance"   // the same, said aloud
	IsolateInvocation Isolation = "invocation" // each call has a new instance, which is closed after it
)

// normalize fills in the defaults, sorts the grants, and checks every field. The receiver is left as it was.
func (c Config) normalize() (Config, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = DefaultMemoryBytes
	}
	if c.Concurrency == 0 {
		c.Concurrency = max(4, 2*goruntime.GOMAXPROCS(0))
	}
	if c.IdleBytes == 0 {
		c.IdleBytes = DefaultIdleBytes
	}
	if c.Isolation == IsolateInstance {
		c.Isolation = IsolateNone
	}
	switch {
	case c.Isolation != IsolateNone && c.Isolation != IsolateInvocation:
		return c, field.Invalid("isolation", shorten(string(c.Isolation)), "instance or invocation")
	case c.Timeout < MinTimeout || c.Timeout > MaxTimeout:
		return c, field.Invalid("timeout", field.Duration(c.Timeout), field.Duration(MinTimeout)+" to "+field.Duration(MaxTimeout))
	case c.MemoryBytes < MinMemoryBytes || c.MemoryBytes > MaxMemoryBytes:
		return c, field.Invalid("memory", strconv.FormatInt(c.MemoryBytes, 10)+" bytes",
			fmt.Sprintf("%dMiB to %dMiB", MinMemoryBytes>>20, MaxMemoryBytes>>20))
	case c.IdleBytes < MinIdleBytes || c.IdleBytes > MaxIdleBytes:
		return c, field.Invalid("idleMemory", strconv.FormatInt(c.IdleBytes, 10)+" bytes", fmt.Sprintf("%dMiB to %dGiB", MinIdleBytes>>20, MaxIdleBytes>>30))
	case c.Fuel != 0 && (c.Fuel < MinFuel || c.Fuel > MaxFuel):
		return c, field.Invalid("fuel", strconv.FormatInt(c.Fuel, 10), fmt.Sprintf("%d to %d", MinFuel, int64(MaxFuel)))
	case c.Concurrency < 1 || c.Concurrency > MaxConcurrency:
		return c, field.Invalid("concurrency", strconv.Itoa(c.Concurrency), fmt.Sprintf("1 to %d", MaxConcurrency))
	}
	c.MemoryBytes = (c.MemoryBytes + wasmPage - 1) / wasmPage * wasmPage
	return c, c.normalizeGrants()
}

// equal compares two normalized configurations.
func (c Config) equal(o Config) bool {
	return c.Timeout == o.Timeout && c.MemoryBytes == o.MemoryBytes && c.Fuel == o.Fuel && c.Concurrency == o.Concurrency && c.IdleBytes == o.IdleBytes && c.Isolation == o.Isolation &&
		slices.Equal(c.Emit, o.Emit) && slices.Equal(c.Secrets, o.Secrets) && slices.Equal(c.State, o.State) && slices.Equal(c.HTTP, o.HTTP) && maps.Equal(c.Env, o.Env)
}

func checkName(name string) error {
	if !validName(name, MaxNameBytes) {
		return field.Invalid("name", name, nameRule(MaxNameBytes))
	}
	return nil
}

// validName allows what needs no escape in a path, a metric, a subject or a file name.
func validName(name string, limit int) bool {
	if len(name) == 0 || len(name) > limit || strings.Trim(name, ".") == "" {
		return false
	}
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return true
}

func nameRule(limit int) string {
	return fmt.Sprintf("1 to %d letters, digits, '-', '_' or '.', and not only dots", limit)
}

// shorten keeps an error about an absurd value readable.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
