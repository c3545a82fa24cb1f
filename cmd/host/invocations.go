package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

func newFunctionInvocations(a *app) *cobra.Command {
	var o api.InvocationOptions
	c := &cobra.Command{
		Use:   "invocations NAME [ID]",
		Short: "Show what became of a function's latest calls, or all that is known of one",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				if o != (api.InvocationOptions{}) {
					return usagef("give ID or --failed, --follow and --logs, not both")
				}
				i, err := client.Invocation(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				return a.printInvocation(&i)
			}
			for i, err := range client.Invocations(cmd.Context(), args[0], o) {
				if err == nil {
					err = a.printCall(&i)
				}
				if err != nil {
					return unlessInterrupted(cmd.Context(), err)
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&o.Failed, "failed", false, "only those that failed; as many of them are kept beside the latest")
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "wait for calls to come")
	c.Flags().BoolVar(&o.Logs, "logs", false, "each with its log lines that are kept")
	return c
}

// printCall shows an invocation as a line.
func (a *app) printCall(i *api.Invocation) error {
	if a.output == outputJSON {
		return a.printJSON(i)
	}
	_, err := fmt.Fprintf(a.out, "%s  %-9s  v%d  %9s  %6d in  %6d out  %s  %s%s\n", clock(i.Started), i.Outcome, i.Version,
		shortDuration(time.Duration(i.Duration)), i.Records, i.Emitted, i.ID, origin(i), complaint(i.Message))
	if err != nil {
		return err
	}
	return a.printLogs(i)
}

// printLogs shows the log lines that an invocation comes with.
func (a *app) printLogs(i *api.Invocation) error {
	for _, line := range i.Logs {
		if err := a.printLog(line); err != nil {
			return err
		}
	}
	return nil
}

// origin says where an invocation's records are from.
func origin(i *api.Invocation) string {
	if i.Source == nil {
		return i.Kind
	}
	text := i.Source.Mapping + " " + i.Source.Shard
	if i.Attempt > 1 {
		text += fmt.Sprintf(" attempt %d", i.Attempt)
	}
	return text
}

func complaint(message string) string {
	if message == "" {
		return ""
	}
	return "  " + printable(message)
}

// printInvocation shows all that is known of an invocation.
func (a *app) printInvocation(i *api.Invocation) error {
	err := a.printFields(i,
		[2]string{"ID", i.ID},
		[2]string{"Function", fmt.Sprintf("%s version %d", i.Function, i.Version)},
		[2]string{"Outcome", i.Outcome},
		[2]string{"Message", printable(i.Message)},
		[2]string{"Started", shortTime(i.Started)},
		[2]string{"Duration", shortDuration(time.Duration(i.Duration))},
		[2]string{"Fuel", thousands(i.Fuel)},
		[2]string{"Memory", byteSize(int64(i.MemoryPeak))},
		[2]string{"Records", strconv.Itoa(i.Records)},
		[2]string{"Emitted", strconv.Itoa(i.Emitted)},
		[2]string{"From", origin(i)},
	)
	if err != nil || a.output == outputJSON {
		return err
	}
	if i.Source != nil {
		fmt.Fprintf(a.out, "\nrecords %s to %s of stream %s\n", i.Source.First, i.Source.Last, i.Source.Stream)
	}
	if i.Stack != "" {
		fmt.Fprintf(a.out, "\n%s\n", strings.TrimRight(i.Stack, "\n"))
	}
	if i.LogLines > 0 {
		fmt.Fprintln(a.out)
	}
	if more := i.LogLines - len(i.Logs); more > 0 {
		fmt.Fprintf(a.out, "%s of its log not kept\n", plural(int64(more), "line", "lines"))
	}
	return a.printLogs(i)
}
