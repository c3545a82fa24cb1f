package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/runtime"
)

// serveSettings are the flags of serve that are also SHARDMILL_* variables and keys of the config file.
var serveSettings = []string{"data-dir", "listen", "admin-listen", "log-level", "log-format", "drain", "insecure", "tls-cert", "tls-key", "allow-host", "trust-keys", "secrets-key", "function-host", "state-limit", "state-table-limit", "idle-memory", "idle-timeout"}

func newServe(a *app) *cobra.Command {
	var config hostConfig
	var file, level, format string
	var insecure bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the host",
		Long: "Run the host until SIGINT or SIGTERM; it then stops taking requests, lets the work under way end and exits\n" +
			"with status 0, or, when something had to be cut off at the end of --drain, names it and exits with status 1.\n" +
			"A second signal ends it at once.\n\n" +
			"Every setting can be given as a flag, else as a variable (--data-dir is SHARDMILL_DATA_DIR), else as a key\n" +
			"of the YAML file named by --config or SHARDMILL_CONFIG (data-dir: /var/lib/shardmill). Only\n" +
			"--accept-catalog-damage is a flag and nothing else: it is for one start.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v, ok := a.lookupEnv(envName("config")); ok && file == "" {
				file = v
			}
			from, err := loadSettings(cmd.Flags(), slices.Concat(serveSettings, awsSettings, doorSettings, failureSettings), a.lookupEnv, file)
			if err != nil {
				return err
			}
			if config.logger, err = newLogger(a.err, level, format, from); err != nil {
				return err
			}
			if err := config.check(cmd.Context(), from, insecure); err != nil {
				return err
			}
			if err := config.failures.check(from, a.lookupEnv); err != nil {
				return err
			}
			return serve(cmd.Context(), config)
		},
	}
	flags := c.Flags()
	flags.StringVar(&file, "config", "", "YAML file with settings")
	flags.StringVar(&config.dataDir, "data-dir", "shardmill-data", "folder that holds everything the host keeps")
	flags.StringVar(&config.listen, "listen", defaultListen, "address of the API")
	flags.StringVar(&config.adminListen, "admin-listen", defaultAdminListen, "address of /livez, /readyz, /metrics and /debug/pprof")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&format, "log-format", "text", "text or json")
	flags.DurationVar(&config.drain, "drain", defaultDrain, "how long requests and batches under way may take to end, all together, when the host stops; 0s cuts them off at once")
	flags.StringSliceVar(&config.allowHosts, "allow-host", nil, "name besides localhost under which programs reach a host that listens on a loopback address; repeatable")
	flags.StringVar(&config.tlsCert, "tls-cert", "", "PEM file with the certificate chain of the API's listener, which then speaks TLS; a renewed file is taken without a restart")
	flags.StringVar(&config.tlsKey, "tls-key", "", "PEM file with the key of --tls-cert")
	flags.StringVar(&config.trustKeys, "trust-keys", "", "PEM file with ed25519 public keys; functions that are uploaded must then be signed with one of them (function deploy --sign)")
	flags.StringVar(&config.secretsKey, "secrets-key", "", "file with the key that secrets are encrypted to, as age-keygen writes it; only its owner may read it (default: secrets.key in the data directory, which is made with the first secret)")
	flags.StringSliceVar(&config.functionHosts, "function-host", nil, "HOST or HOST:PORT with a private address that functions may call, where they are granted it; public addresses need none; repeatable")
	textFlag(flags, &config.stateTotal, "state-limit", "size", "1MiB or more", "how much all state tables of functions may hold together (default 8GiB)")
	textFlag(flags, &config.stateTable, "state-table-limit", "size", "1MiB or more", "how much one state table may hold (default 1GiB)")
	textFlag(flags, &config.idleMemory, "idle-memory", "size", "1MiB or more", "how much memory instances of all functions that wait for calls may hold together; those used longest ago are closed first (default 4GiB)")
	flags.DurationVar(&config.idleTimeout, "idle-timeout", runtime.DefaultIdleTimeout, "how long an instance waits for a call until it is closed, and a function's code until it is unloaded; 1s or more")
	config.aws.addFlags(flags)
	config.doors.addFlags(flags)
	config.failures.addFlags(flags)
	flags.BoolVar(&config.acceptDamage, "accept-catalog-damage", false, "start with what is left of the definitions when both copies of them are damaged")
	flags.BoolVar(&insecure, "insecure", false, "allow addresses that other machines reach, though there is no authentication")
	return c
}

// check refuses settings that no host can have; from tells where each was given.
func (c *hostConfig) check(ctx context.Context, from sources, insecure bool) error {
	if c.dataDir == "" {
		return usagef("%s is empty; it must name a folder", from.of("data-dir"))
	}
	if c.drain < 0 {
		return usagef("%s is %v; it must be 0s (what is under way is cut off at once) or more", from.of("drain"), c.drain)
	}
	if c.idleTimeout < time.Second {
		return usagef("%s is %v; it must be 1s or more", from.of("idle-timeout"), c.idleTimeout)
	}
	for _, h := range c.functionHosts {
		if _, err := egress.ParseHost(h); err != nil {
			return usagef("%s: %v", from.of("function-host"), err)
		}
	}
	for name, limit := range map[string]api.Size{"state-limit": c.stateTotal, "state-table-limit": c.stateTable, "idle-memory": c.idleMemory} {
		if limit != 0 && limit < 1<<20 {
			return usagef("%s is %s; it must be 1MiB or more", from.of(name), limit)
		}
	}
	if err := checkBind(ctx, from.of("listen"), c.listen, insecure); err != nil {
		return err
	}
	if err := checkBind(ctx, from.of("admin-listen"), c.adminListen, insecure); err != nil {
		return err
	}
	if err := c.aws.check(from); err != nil {
		return err
	}
	return c.doors.check(ctx, from, insecure)
}

// serve runs a host until ctx ends, or until one of its listeners fails.
func serve(ctx context.Context, config hostConfig) error {
	start := time.Now()
	h, err := startHost(ctx, config)
	if err != nil && ctx.Err() != nil {
		config.logger.Info("stopped before the host was ready")
		return nil
	}
	if err != nil {
		return err
	}
	config.logger.Info("host is ready", "api", h.url(), "admin", "http://"+h.adminAddr(),
		"data", h.dir.path, "took", shortDuration(time.Since(start)))
	var failure error
	select {
	case <-ctx.Done():
		config.logger.Info("stopping", "drain", config.drain)
	case failure = <-h.failed:
		failure = fmt.Errorf("host stopped: %w", failure)
	}
	failure = errors.Join(failure, h.close())
	config.logger.Info("stopped")
	return failure
}
