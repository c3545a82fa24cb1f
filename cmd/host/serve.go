package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// serveSettings are the flags of serve that are also SHARDMILL_* variables and keys of the config file.
var serveSettings = []string{"data-dir", "listen", "admin-listen", "log-level", "log-format", "drain", "insecure", "tls-cert", "tls-key"}

func newServe(a *app) *cobra.Command {
	var config hostConfig
	var file, level, format string
	var insecure bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the host",
		Long: "Run the host until SIGINT or SIGTERM; it then stops taking requests, lets the work under way end and exits\n" +
			"with status 0. A second signal ends it at once.\n\n" +
			"Every setting can be given as a flag, else as a variable (--data-dir is SHARDMILL_DATA_DIR), else as a key\n" +
			"of the YAML file named by --config or SHARDMILL_CONFIG (data-dir: /var/lib/shardmill).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v, ok := a.lookupEnv(envName("config")); ok && file == "" {
				file = v
			}
			if err := loadSettings(cmd.Flags(), serveSettings, a.lookupEnv, file); err != nil {
				return err
			}
			logger, err := newLogger(a.err, level, format)
			if err != nil {
				return err
			}
			config.logger = logger
			if err := checkBind(cmd.Context(), "listen", config.listen, insecure); err != nil {
				return err
			}
			if err := checkBind(cmd.Context(), "admin-listen", config.adminListen, insecure); err != nil {
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
	flags.DurationVar(&config.drain, "drain", defaultDrain, "how long the work under way may take to end when the host stops")
	flags.StringVar(&config.tlsCert, "tls-cert", "", "PEM file with the certificate chain of the API's listener, which then speaks TLS; a renewed file is taken without a restart")
	flags.StringVar(&config.tlsKey, "tls-key", "", "PEM file with the key of --tls-cert")
	flags.BoolVar(&config.acceptDamage, "accept-catalog-damage", false, "start with what is left of the definitions when both copies of them are damaged")
	flags.BoolVar(&insecure, "insecure", false, "allow addresses that other machines reach, though there is no authentication")
	return c
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
	if err := h.close(); err != nil {
		if failure == nil {
			failure = err
		}
		config.logger.Error("host did not stop cleanly", "error", err)
	}
	config.logger.Info("stopped")
	return failure
}
