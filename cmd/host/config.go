package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Where a host listens unless told otherwise.
const (
	defaultListen      = "127.0.0.1:4780"
	defaultAdminListen = "127.0.0.1:4781"
	defaultEndpoint    = "http://" + defaultListen
)

// loadSettings fills the flags in names that the command line did not give: from the environment
// (SHARDMILL_DATA_DIR for data-dir), else from the YAML file at configPath (key data-dir; none when empty), else
// they keep their default. A file with a key that is no setting is refused whole, by the key's name.
func loadSettings(flags *pflag.FlagSet, names []string, lookupEnv func(string) (string, bool), configPath string) (sources, error) {
	file, err := readSettings(configPath, names)
	if err != nil {
		return nil, err
	}
	from := make(sources)
	for _, name := range names {
		if flags.Changed(name) {
			continue
		}
		v, ok := lookupEnv(envName(name))
		given := setting{one: v, has: true}
		if from[name] = envName(name); !ok || v == "" {
			if given, ok = file[name]; !ok {
				delete(from, name)
				continue
			}
			from[name] = configPath + ": " + name
		}
		if err := given.apply(flags, name); err != nil {
			return nil, usagef("%s %v", from[name], err)
		}
	}
	return from, nil
}

// apply gives a flag its setting. A flag that can be repeated takes a list.
func (s setting) apply(flags *pflag.FlagSet, name string) error {
	list, repeatable := flags.Lookup(name).Value.(pflag.SliceValue)
	switch {
	case s.has:
	case s.many != nil && repeatable:
		if err := list.Replace(s.many); err != nil {
			return err
		}
		flags.Lookup(name).Changed = true
		return nil
	case s.many != nil && name == ruleSetting:
		s.one = strings.Join(s.many, "\n")
	default:
		return errors.New("needs one value")
	}
	if err := flags.Set(name, s.one); err != nil {
		return fmt.Errorf("is %q; it must be %s", s.one, settingForm(err))
	}
	return nil
}

// sources names the variable or the file's key that a setting was taken from; those missing come from the command line.
type sources map[string]string

// of is how an error calls the setting.
func (s sources) of(setting string) string { return cmp.Or(s[setting], "--"+setting) }

// settingForm is what a setting may be that pflag has refused.
func settingForm(err error) string {
	if refused := (*pflag.InvalidValueError)(nil); errors.As(err, &refused) {
		return flagForm(refused)
	}
	return err.Error()
}

func envName(flag string) string {
	return "SHARDMILL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readSettings reads a flat YAML map of settings.
func readSettings(path string, names []string) (map[string]setting, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config file: %w", err)
	}
	var settings map[string]setting
	if err := decodeYAML(b, &settings); err != nil {
		return nil, usagef("%s: %s", path, firstLine(err.Error()))
	}
	for key := range settings {
		if !slices.Contains(names, key) {
			return nil, usagef("%s: unknown key %q; the keys are %s", path, key, strings.Join(names, ", "))
		}
	}
	return settings, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// newLogger makes the host's logger. level is debug, info, warn or error; format is text or json.
func newLogger(w io.Writer, level, format string, from sources) (*slog.Logger, error) {
	var l slog.Level
	switch level {
	case "debug", "info", "warn", "error":
		_ = l.UnmarshalText([]byte(level))
	default:
		return nil, usagef("%s is %q; it can be debug, info, warn or error", from.of("log-level"), level)
	}
	// A duration is text with its unit in both formats; JSON's own form would be a bare number of nanoseconds.
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("%s is %q; it can be text or json", from.of("log-format"), format)
}

// checkBind refuses to listen where other machines can reach the host, because nobody has to say who he is: every
// address that host:port stands for must be a loopback address. setting is what an error calls it.
func checkBind(ctx context.Context, setting, addr string, insecure bool) error {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return usagef("%s is %q; it must be HOST:PORT, such as %s", setting, addr, defaultListen)
	}
	if insecure {
		return nil
	}
	if name == "" {
		return bindError(setting, addr, "every address of this machine")
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return usagef("%s is %q: %s does not resolve: %v", setting, addr, name, err)
	}
	for _, ip := range ips {
		switch ip = ip.Unmap(); {
		case ip.IsLoopback():
		case ip.IsUnspecified():
			return bindError(setting, addr, "every address of this machine")
		default:
			return bindError(setting, addr, ip.String())
		}
	}
	return nil
}

func bindError(setting, addr, where string) error {
	return usagef("%s %s would accept anybody on %s, without authentication; use a loopback address or add --insecure",
		setting, addr, where)
}
