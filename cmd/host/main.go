// Command shardmill is the one binary: the host (serve), the developer's loop (dev), and a verb for everything
// the HTTP API can do.
//
// Every verb but serve, dev, agent and function build speaks to a running host through api.Client; none of them opens
// the data directory. Results go to standard output, everything else to standard error. The exit status is 0 for
// success, 1 for a failure and 2 for a command line that makes no sense.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/shardmill/shardmill/api"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	if done, err := worksApart(os.Args, compileApart, linesApart, moduleApart); done {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitFailure)
		}
		return
	}
	// A reader that goes away (stream tail | head) is an error of the write, so that what is temporary is removed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal(context.Background())
	status := run(ctx, os.Args[1:], terminal())
	stop()
	os.Exit(status)
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels. Before it does, the signals are given their
// default effect again, so that the second one ends the process at once.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	})
	return ctx, func() { cancel(); watch.Wait() }
}

// console is what a command reads from and writes to.
type console struct {
	in       io.Reader
	out, err io.Writer
	// outTerminal and errTerminal say that out and err are terminals with somebody watching.
	outTerminal, errTerminal bool
	lookupEnv                func(string) (string, bool)
}

func terminal() console {
	return console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		lookupEnv:   os.LookupEnv,
	}
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, c console) int {
	a := &app{console: c}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	for _, c := range a.clients {
		c.Close()
	}
	if err == nil {
		return exitOK
	}
	if errors.Is(err, syscall.EPIPE) && !errors.As(err, new(*net.OpError)) { // who reads standard output has gone, not the host
		return exitFailure
	}
	fmt.Fprintf(c.err, "shardmill: %s\n%s", a.sentence(err), stack(err))
	if usage := (usageError{}); !a.started || errors.As(err, &usage) {
		fmt.Fprintf(c.err, "Run '%s --help' for how to use it.\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// usageError is a command line that cannot be carried out as written.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// app is the state of one command line: the console and the flags all verbs share.
type app struct {
	console
	endpoint string
	output   string
	// started is set once flags and arguments have been accepted: errors before that are usage errors.
	started bool
	clients []*api.Client                           // to close when the command has ended
	bar     atomic.Pointer[progressbar.ProgressBar] // the one that is shown
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "shardmill",
		Short: "Durable streams that drive WebAssembly functions, in one binary",
		Long: "Shardmill keeps durable, sharded streams of records and drives WebAssembly functions from them.\n" +
			"`shardmill dev` runs a function's source on real records; `shardmill serve` is the host.",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != outputTable && a.output != outputJSON {
				return usagef("--output is %q; it can be %s or %s", a.output, outputTable, outputJSON)
			}
			a.started = true
			return nil
		},
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return noVerb(cmd, args[0])
		}
		return nil
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetFlagErrorFunc(flagError)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	endpoint := defaultEndpoint
	if v, ok := a.lookupEnv("SHARDMILL_ENDPOINT"); ok && v != "" {
		endpoint = v
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.endpoint, "endpoint", endpoint, "address of the host's API (SHARDMILL_ENDPOINT)")
	flags.StringVar(&a.output, "output", outputTable, "how results are written: table or json (one object a line)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputTable, outputJSON}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		newServe(a), newDev(a), newStream(a), newFunction(a), newMapping(a), newSecret(a), newState(a), newCapsule(a), newReplay(a), newFilter(a), newAgent(a), newBench(a), newVersion(a),
	)
	tidyDefaults(root)
	return root
}

// tidyDefaults has the verbs that cobra adds speak as the others do.
func tidyDefaults(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			for _, shell := range c.Commands() {
				shell.Args = arguments
			}
			c.Args = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return noVerb(cmd, args[0])
				}
				return usagef("%s needs a verb: %s", cmd.CommandPath(), verbNames(cmd))
			}
			c.RunE = func(*cobra.Command, []string) error { return nil }
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				of, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 {
					err = noVerb(of, rest[0])
				}
				return err
			}
		}
	}
}

// group is a verb that only holds other verbs; alone, or with a word it does not know, it is a usage error.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s needs a verb: %s", cmd.CommandPath(), verbNames(cmd))
			}
			return noVerb(cmd, args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	c.AddCommand(verbs...)
	return c
}

// noVerb is the error of a word that is no verb of a command: it names the one that was meant, or all there are.
func noVerb(cmd *cobra.Command, word string) error {
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if meant := cmd.SuggestionsFor(word); len(meant) > 0 {
		return usagef("%s has no verb %q; did you mean %s?", cmd.CommandPath(), word, strings.Join(meant, " or "))
	}
	return usagef("%s has no verb %q; it has %s", cmd.CommandPath(), word, verbNames(cmd))
}

func verbNames(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return strings.Join(names, ", ")
}
