package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/shards"
)

// devConfig is the command line of dev.
type devConfig struct {
	dir       string
	name      string
	stream    string
	shards    int
	anyShards bool // take a stream that exists as it is
	feed      string
	key       string
	emit      []string
	secrets   map[string]string // files with the values, by name
	batchSize int
	once      bool
	rows      int
	dataDir   string
	listen    string // "" takes the usual ports, or free ones when those are taken
	logLevel  string
}

func newDev(a *app) *cobra.Command {
	var config devConfig
	c := &cobra.Command{
		Use:   "dev DIR",
		Short: "Run a function's source on real records, and again whenever it is saved",
		Long: "Build the function in DIR, start a host of its own, put the events of --feed to --stream and show what the\n" +
			"function makes of them: the sums, per partition key, of the numbers in the records it emits. dev then stays up,\n" +
			"swaps the function in whenever its source changes and, with --feed, runs it on the records of the session again\n" +
			"from the first, so that each save shows what it makes of the same records. The streams it may emit to, and what is shown of them,\n" +
			"are in DIR/" + manifestFile + " (emit: [delays]), or given with --emit.",
		Example: "  shardmill dev ./functions/examples/delays --stream flights \\\n" +
			"    --feed ./functions/examples/delays/testdata/flights.ndjson.gz --key origin",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			config.dir = args[0]
			config.anyShards = !cmd.Flags().Changed("shards")
			if !cmd.Flags().Changed("rows") && a.outTerminal {
				config.rows = 20
			}
			if cmd.Flags().Changed("batch-size") && config.batchSize < 1 {
				return usagef("--batch-size is %d; it must be 1 to 10000", config.batchSize)
			}
			if err := config.check(); err != nil {
				return err
			}
			a.err = &lockedWriter{w: a.err}
			return a.dev(cmd.Context(), config)
		},
	}
	flags := c.Flags()
	flags.StringVar(&config.stream, "stream", "", "the stream that drives the function; it is created")
	flags.IntVar(&config.shards, "shards", 4, "how many shards the stream has")
	flags.StringVar(&config.feed, "feed", "", "file of JSON events, one a line, to put to the stream; gzip is recognized")
	flags.StringVar(&config.key, "key", "", "field of each event that is its partition key, or a JSON pointer such as /flight/origin")
	flags.StringSliceVar(&config.emit, "emit", nil, "stream the function may emit to; repeatable (default: as "+manifestFile+" says)")
	flags.StringToStringVar(&config.secrets, "secret", nil, "NAME=FILE: a secret of the session and the file with its value; repeatable")
	flags.StringVar(&config.name, "name", "", "the function's name (default: the folder's)")
	flags.IntVar(&config.batchSize, "batch-size", 0, "the most records of one call (default 100)")
	flags.BoolVar(&config.once, "once", false, "end when the feed has been processed")
	flags.IntVar(&config.rows, "rows", 0, "show at most so many rows of each table; 0 shows all (default: 20 on a terminal)")
	flags.StringVar(&config.dataDir, "data-dir", "", "keep the data in a folder (default: a temporary one that is removed at the end)")
	flags.StringVar(&config.listen, "listen", "", "address of the API (default "+defaultListen+", or a free port when that is taken)")
	flags.StringVar(&config.logLevel, "log-level", "warn", "what the host logs: debug, info, warn or error")
	return c
}

func (c *devConfig) check() error {
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return err
	}
	if c.name == "" {
		c.name = filepath.Base(dir)
	}
	switch {
	case c.stream == "":
		return usagef("--stream is needed: the stream that drives the function")
	case c.feed != "" && c.key == "":
		return usagef("--feed needs --key: the field of each event that is its partition key")
	case c.feed == "" && c.key != "":
		return usagef("--key goes with --feed")
	case c.once && c.feed == "":
		return usagef("--once needs --feed: without it there is nothing to wait for")
	case c.shards < 1 || c.shards > shards.MaxShards:
		return usagef("--shards is %d; it must be 1 to 1000", c.shards)
	case c.rows < 0:
		return usagef("--rows is %d; it must be 0 (all) or more", c.rows)
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return usagef("%s is a file; give the folder it is in", c.dir)
	}
	if c.feed == "" || c.feed == "-" {
		return nil
	}
	// Better now than after a build and the start of a host.
	_, err = os.Stat(c.feed)
	return err
}

// manifest is the folder's, with what the command line says instead.
func (c *devConfig) manifest() (manifest, error) {
	m, err := readManifest(c.dir)
	if len(c.emit) > 0 {
		m.config.Emit = c.emit
	}
	if _, said := m.config.Env[sdk.PoisonVariable]; !said && len(m.config.Env) < runtime.MaxEnv {
		env := api.Variables{sdk.PoisonVariable: "1"} // a view that is kept too long is to be seen here, and not in production
		maps.Copy(env, m.config.Env)
		m.config.Env = env
	}
	return m, err
}

// dev runs one session from the first build to the last line.
func (a *app) dev(ctx context.Context, config devConfig) (err error) {
	s := &session{app: a, config: config, swapped: make(chan swapped)}
	if s.manifest, err = config.manifest(); err != nil {
		return err
	}
	start := time.Now()
	wasm, err := buildModule(ctx, config.dir)
	if err != nil {
		return s.ended(ctx, err)
	}
	a.say("built %s (%s) in %s", config.name, byteSize(int64(len(wasm))), shortDuration(time.Since(start)))

	stop, err := s.startHost(ctx)
	if err != nil {
		return s.ended(ctx, err)
	}
	err = s.ended(ctx, s.run(ctx, wasm))
	return errors.Join(err, stop())
}

// ended is what an error means for the session: stopping a session that has no end of its own is no failure.
func (s *session) ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if s.config.once {
		return errors.New("interrupted before the feed had been processed")
	}
	return nil
}

// session is one run of dev.
type session struct {
	*app
	config   devConfig
	manifest manifest
	host     *host
	client   *api.Client
	version  int          // of the function, as swapped in last; the watching goroutine's once it runs
	swapped  chan swapped // from the watching goroutine to the one that reports

	began    time.Time     // before any record of this session
	unmapped bool          // the function that was swapped in cannot be mapped: nothing runs until the next one
	fed      time.Time     // when the feed began
	oldest   time.Duration // the greatest iterator age seen
	reported uint64        // records that had been processed at the last report
	told     string        // the failure that was told last

	mu      sync.Mutex
	outputs []*output // one per stream the function may emit to
}

// startHost starts the session's own host on its data directory. stop drains it and removes what is temporary.
func (s *session) startHost(ctx context.Context) (stop func() error, err error) {
	logger, err := newLogger(s.err, s.config.logLevel, "text", nil)
	if err != nil {
		return nil, err
	}
	dir, remove := s.config.dataDir, func() error { return nil }
	if dir == "" {
		if dir, err = os.MkdirTemp("", "shardmill-dev-"); err != nil {
			return nil, err
		}
		remove = func() error { return os.RemoveAll(dir) }
	}
	config := hostConfig{
		dataDir: dir, listen: s.config.listen, adminListen: freePort, logger: logger, drain: defaultDrain,
		// Whoever is mending a function is not to wait long for the next try.
		functionHosts: s.manifestHosts(),
		retryBase:     100 * time.Millisecond, retryMax: time.Second,
	}
	if config.listen != "" {
		err = checkBind(ctx, "--listen", config.listen, false)
	} else {
		config.listen, config.listenElse = defaultListen, freePort
	}
	if err == nil {
		s.host, err = startHost(ctx, config)
	}
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	s.endpoint = "http://" + s.host.addr()
	if s.client, err = s.app.client(); err != nil {
		return nil, errors.Join(err, s.host.close(), remove())
	}
	return func() error {
		return errors.Join(s.host.close(), remove())
	}, nil
}

// freePort has the system choose a port of the loopback interface.
const freePort = "127.0.0.1:0"

// run prepares the host, feeds it and shows what comes out; unless --once is given, it goes on until ctx ends.
func (s *session) run(ctx context.Context, wasm []byte) error {
	if err := s.prepare(ctx, wasm); err != nil {
		return err
	}
	background, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { s.followLogs(background) })
	watching, ready := make(chan error, 1), make(chan struct{})
	if !s.config.once {
		running.Go(func() {
			watching <- watchSource(background, s.config.dir, 50*time.Millisecond, func() { close(ready) }, func() {
				if swapped, ok := s.swap(background); ok {
					select {
					case s.swapped <- swapped:
					case <-background.Done():
					}
				}
			})
		})
	}
	if s.config.feed != "" {
		if err := s.feed(ctx); err != nil {
			return err
		}
	}
	if s.config.once {
		return nil
	}
	s.say("the API is at http://%s, metrics at http://%s/metrics", s.host.addr(), s.host.adminAddr())
	select {
	case <-ready:
	case err := <-watching:
		return err
	}
	s.say("watching %s for changes; Ctrl-C ends", s.config.dir)
	return s.stay(ctx, watching)
}

// prepare creates the streams, deploys the function and maps it to its stream.
func (s *session) prepare(ctx context.Context, wasm []byte) error {
	if err := s.createStream(ctx, s.config.stream, s.config.shards, s.config.anyShards); err != nil {
		return err
	}
	if err := s.createOutputs(ctx, s.manifest); err != nil {
		return err
	}
	if err := s.setSecrets(ctx); err != nil {
		return err
	}
	start := time.Now()
	f, _, err := s.client.DeployProven(ctx, s.config.name, bytes.NewReader(wasm), s.manifest.config, proofOf(wasm))
	if err != nil {
		return err
	}
	s.warnOfMissing(ctx, s.client, &f.Config)
	s.version = f.Version
	s.say("version %d is ready after %s", f.Version, shortDuration(time.Since(start)))
	s.began = time.Now()
	_, _, err = s.client.PutMapping(ctx, s.mapping(), s.mappingConfig())
	return err
}

// setSecrets sets the secrets of the session.
func (s *session) setSecrets(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(s.config.secrets)) {
		value, err := s.readSecret(name, s.config.secrets[name])
		if err != nil {
			return err
		}
		if _, _, err := s.client.SetSecret(ctx, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) mappingConfig() api.MappingConfig {
	return api.MappingConfig{Stream: s.config.stream, Function: s.config.name, BatchSize: s.config.batchSize}
}

// mapping is the name of the session's mapping.
func (s *session) mapping() string { return s.config.stream + "-" + s.config.name }

// createOutputs creates the streams that the function may emit to, and begins to read those that are new.
func (s *session) createOutputs(ctx context.Context, m manifest) error {
	for _, name := range m.config.Emit {
		if slices.ContainsFunc(s.outputsNow(), func(o *output) bool { return o.tally.stream == name }) {
			continue
		}
		if name == s.config.stream {
			s.say("%s may emit to %s, the stream that it reads: it is handed what it emits there, and goes on without end unless it stops by itself", s.config.name, name)
		}
		if err := s.createStream(ctx, name, 1, true); err != nil {
			return err
		}
		stream, err := s.client.Stream(ctx, name)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.outputs = append(s.outputs, newOutput(stream, m.columns[name]))
		s.mu.Unlock()
	}
	return nil
}

func (s *session) outputsNow() []*output {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.outputs)
}

// createStream creates a stream. One that exists in another shape, in a data directory that is used again, is taken as
// it is when any will do.
func (s *session) createStream(ctx context.Context, name string, shards int, any bool) error {
	_, _, err := s.client.CreateStream(ctx, name, api.StreamConfig{Shards: shards})
	if p := (*api.Problem)(nil); any && errors.As(err, &p) && p.Kind() == api.KindConflict {
		return nil
	}
	return err
}

// followLogs shows what the function writes.
func (s *session) followLogs(ctx context.Context) {
	for l, err := range s.client.Logs(ctx, s.config.name, api.LogOptions{Follow: true}) {
		switch {
		case err == nil:
			s.say("%s v%d %s: %s", l.Function, l.Version, l.Level, logText(l.Message))
		case ctx.Err() == nil:
			s.say("the function's log cannot be followed: %s", oneLine(err))
		}
	}
}

// lockedWriter lets several goroutines write whole lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
