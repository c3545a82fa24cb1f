package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shardmill/shardmill/api"
)

// manifestFile is the optional file in a function's folder that says how the function is deployed.
const manifestFile = "shardmill.yaml"

// manifest is the content of shardmill.yaml. A key it does not know is refused.
type manifest struct {
	// Emit names the streams the function is granted to emit to.
	Emit []string `yaml:"emit"`
	// Secrets names the secrets the function may read, Env gives its environment variables.
	Secrets []string          `yaml:"secrets"`
	State   []string          `yaml:"state"` // tables: NAME of its own, shared:NAME
	HTTP    []string          `yaml:"http"`  // servers it may call: METHODS scheme://host:port
	Env     map[string]string `yaml:"env"`
	// Timeout ("3s"), Memory ("128MiB"), IdleMemory ("1GiB"), Fuel (instructions a call), Concurrency and Isolation (instance or invocation) are the function's settings; unset ones
	// keep the host's defaults.
	Timeout     string `yaml:"timeout"`
	Memory      string `yaml:"memory"`
	IdleMemory  string `yaml:"idleMemory"`
	Fuel        int    `yaml:"fuel"`
	Concurrency int    `yaml:"concurrency"`
	Isolation   string `yaml:"isolation"`
	// Show says, per emitted stream, which columns `dev` shows: a field of the records, which is summed per
	// partition key, or "name = field / field", the ratio of two such sums. Without an entry every numeric field is
	// summed.
	Show map[string][]string `yaml:"show"`

	// config and columns are what the strings above come to.
	config  api.FunctionConfig
	columns map[string][]tallyColumn
}

// readManifest reads shardmill.yaml in folder dir; a folder without one has the empty manifest.
func readManifest(dir string) (manifest, error) {
	name := filepath.Join(dir, manifestFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, nil
	}
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := decodeYAML(b, &m); err != nil {
		return manifest{}, fmt.Errorf("%s: %s", name, firstLine(err.Error()))
	}
	if err := m.parse(); err != nil {
		return manifest{}, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func (m *manifest) parse() error {
	m.config = api.FunctionConfig{Fuel: m.Fuel, Emit: m.Emit, Concurrency: m.Concurrency, Isolation: m.Isolation, Secrets: m.Secrets, State: m.State, HTTP: m.HTTP, Env: m.Env}
	if m.Timeout != "" {
		if err := m.config.Timeout.UnmarshalText([]byte(m.Timeout)); err != nil {
			return fmt.Errorf("timeout is %q; it must be %w", m.Timeout, err)
		}
	}
	if m.Memory != "" {
		if err := m.config.Memory.UnmarshalText([]byte(m.Memory)); err != nil {
			return fmt.Errorf("memory is %q; it must be %w", m.Memory, err)
		}
	}
	if m.IdleMemory != "" {
		if err := m.config.IdleMemory.UnmarshalText([]byte(m.IdleMemory)); err != nil {
			return fmt.Errorf("idleMemory is %q; it must be %w", m.IdleMemory, err)
		}
	}
	m.columns = make(map[string][]tallyColumn, len(m.Show))
	for stream, specs := range m.Show {
		for _, spec := range specs {
			c, err := parseTallyColumn(spec)
			if err != nil {
				return fmt.Errorf("show: %s: %w", stream, err)
			}
			m.columns[stream] = append(m.columns[stream], c)
		}
	}
	return nil
}

// tallyColumn is one column of a tally: the sum of field num, or, when den is set, the ratio of the sums.
type tallyColumn struct{ name, num, den string }

var tallyRatio = regexp.MustCompile(`^\s*([^=/]+?)\s*=\s*([^=/]+?)\s*/\s*([^=/]+?)\s*$`)

func parseTallyColumn(spec string) (tallyColumn, error) {
	if m := tallyRatio.FindStringSubmatch(spec); m != nil {
		return tallyColumn{name: m[1], num: m[2], den: m[3]}, nil
	}
	field := strings.TrimSpace(spec)
	if field == "" || strings.ContainsAny(field, "=/") {
		return tallyColumn{}, fmt.Errorf("%q is neither a field nor `name = field / field`", spec)
	}
	return tallyColumn{name: field, num: field}, nil
}
