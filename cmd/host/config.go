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

	"github.com/goccy/go-yaml"
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
		if v, ok := lookupEnv(envName(name)); ok && v != "" {
			from[name] = envName(name)
			if err := flags.Set(name, v); err != nil {
				return nil, usagef("%s is %q: %s", from[name], v, settingReason(err))
			}
		} else if v, ok := file[name]; ok {
			from[name] = configPath + ": " + name
			if err := flags.Set(name, v); err != nil {
				return nil, usagef("%s is %q: %s", from[name], v, settingReason(err))
			}
		}
	}
	return from, nil
}

// sources names the variable or the file's key that a setting was taken from; those missing come from the command line.
type sources map[string]string

// of is how an error calls the setting.
func (s sources) of(setting string) string { return cmp.Or(s[setting], "--"+setting) }

// settingReason is why pflag refused a value, without its repetition of flag and value.
func settingReason(err error) error {
	if refused := (*pflag.InvalidValueError)(nil); errors.As(err, &refused) {
		return refused.Unwrap()
	}
	return err
}

func envName(flag string) string {
	return "SHARDMILL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readSettings reads a flat YAML map of setting to scalar.
func readSettings(path string, names []string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config file: %w", err)
	}
	var raw map[string]any
	if err := yaml.Unmarshal(b, &raw); err != nil {
		return nil, usagef("%s: %s", path, firstLine(err.Error()))
	}
	settings := make(map[string]string, len(raw))
	for key, value := range raw {
		if !slices.Contains(names, key) {
			return nil, usagef("%s: unknown key %q; the keys are %s", path, key, strings.Join(names, ", "))
		}
		if list, ok := value.([]any); ok && key == ruleSetting {
			value = ruleLines(list)
		}
		switch value.(type) {
		case map[string]any, []any, nil:
			return nil, usagef("%s: %s needs one value", path, key)
		}
		settings[key] = fmt.Sprint(value)
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
	opts := &slog.HandlerOptions{Level: l}
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
