package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/internal/agent"
)

// maxAgentConfig bounds a configuration file, in bytes.
const maxAgentConfig = 1 << 20

func newAgent(a *app) *cobra.Command {
	var file, checkpoints, level, format string
	var check bool
	c := &cobra.Command{
		Use:   "agent",
		Short: "Follow log files and put their lines into streams",
		Long: "Follow log files and put their lines into streams, told how by the configuration file of the Amazon Kinesis\n" +
			"Agent, until SIGINT or SIGTERM. Records go where kinesis.endpoint and firehose.endpoint of the file say, or\n" +
			"to the host at --endpoint when they are missing or the flag (or SHARDMILL_ENDPOINT) is given. Requests are\n" +
			"signed when the file or the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) has a key.\n\n" +
			"Positions are kept in checkpointFile (" + agent.DefaultCheckpointFile + "), and only of what has\n" +
			"been acknowledged: nothing is lost when the agent or the host is killed.",
		Example: "  shardmill agent --config agent.json --checkpoint-file ./checkpoints.json\n" +
			"  shardmill agent --config /etc/aws-kinesis/agent.json --endpoint http://127.0.0.1:4780 --check",
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--config is needed: the agent's configuration file")
			}
			config, err := readAgentConfig(file)
			if err != nil {
				return err
			}
			if checkpoints != "" {
				config.CheckpointFile = checkpoints
			}
			fromEnv, _ := a.lookupEnv("SHARDMILL_ENDPOINT")
			o := agent.Options{Config: config, Endpoint: a.endpoint, LookupEnv: a.lookupEnv, Override: fromEnv != "" || cmd.Flags().Changed("endpoint")}
			if check {
				return a.printAgentConfig(&config)
			}
			if o.Logger, err = newLogger(a.err, level, format, nil); err != nil {
				return err
			}
			return runAgent(cmd.Context(), o)
		},
	}
	flags := c.Flags()
	flags.StringVar(&file, "config", "", "configuration file of the Amazon Kinesis Agent (JSON)")
	flags.StringVar(&checkpoints, "checkpoint-file", "", "where positions are kept, in place of the file's checkpointFile")
	flags.BoolVar(&check, "check", false, "read the configuration, say what would be followed, and end")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&format, "log-format", "text", "text or json")
	return c
}

func readAgentConfig(path string) (agent.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return agent.Config{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAgentConfig))
	if err != nil {
		return agent.Config{}, err
	}
	config, err := agent.Parse(data)
	if err != nil {
		return agent.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// agentFlow is what --check shows of a flow.
type agentFlow struct {
	Files  string `json:"files"`
	Stream string `json:"stream"`
	Kind   string `json:"kind"`
}

// printAgentConfig shows the flows, and what has no meaning here.
func (a *app) printAgentConfig(config *agent.Config) error {
	for _, name := range config.Ignored {
		a.say("%s means nothing here", name)
	}
	t := newTable("FILES", "STREAM", "KIND")
	for i := range config.Flows {
		f := &config.Flows[i]
		shown := agentFlow{Files: filepath.Join(f.Dir, f.Pattern), Stream: f.Stream, Kind: "stream"}
		if f.Firehose {
			shown.Kind = "delivery stream"
		}
		if a.output == outputJSON {
			if err := a.printJSON(shown); err != nil {
				return err
			}
		}
		t.add(shown.Files, shown.Stream, shown.Kind)
	}
	if a.output == outputJSON {
		return nil
	}
	return t.write(a.out)
}

// runAgent follows files until ctx is done.
func runAgent(ctx context.Context, o agent.Options) error {
	running, err := agent.Open(o)
	if errors.Is(err, agent.ErrLocked) || errors.Is(err, agent.ErrForeign) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (--checkpoint-file names another)", err)
	}
	if err != nil {
		return err
	}
	o.Logger.Info("agent is running", "flows", len(o.Config.Flows), "checkpoint_file", o.Config.CheckpointFile)
	<-ctx.Done()
	o.Logger.Info("agent is stopping")
	return running.Close(context.WithoutCancel(ctx))
}
