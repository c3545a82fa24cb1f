package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

// completeTimeout bounds how long a shell waits for names.
const completeTimeout = 2 * time.Second

// names asks a host for the names that an argument or a flag can be.
type names func(ctx context.Context, c *api.Client) ([]string, error)

func streamNames(ctx context.Context, c *api.Client) ([]string, error) {
	streams, err := c.Streams(ctx)
	return namesOf(streams, func(s api.Stream) string { return s.Name }), err
}

func functionNames(ctx context.Context, c *api.Client) ([]string, error) {
	functions, err := c.Functions(ctx)
	return namesOf(functions, func(f api.Function) string { return f.Name }), err
}

func mappingNames(ctx context.Context, c *api.Client) ([]string, error) {
	mappings, err := c.Mappings(ctx)
	return namesOf(mappings, func(m api.Mapping) string { return m.Name }), err
}

func secretNames(ctx context.Context, c *api.Client) ([]string, error) {
	secrets, err := c.Secrets(ctx)
	return namesOf(secrets, func(s api.Secret) string { return s.Name }), err
}

func tableNames(ctx context.Context, c *api.Client) ([]string, error) {
	tables, err := c.StateTables(ctx)
	list := namesOf(tables, func(t api.StateTable) string { return t.Name })
	return slices.Compact(slices.Sorted(slices.Values(list))), err
}

func namesOf[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = name(list[i])
	}
	return out
}

// completing has a command's shell completion offer names for its first argument.
func (a *app) completing(c *cobra.Command, first names) *cobra.Command {
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return a.complete(cmd.Context(), first)
	}
	return c
}

// completingFlag has the completion of a flag offer names.
func (a *app) completingFlag(c *cobra.Command, flag string, of names) {
	complete := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.complete(cmd.Context(), of)
	}
	if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the command has no such flag
	}
}

// complete asks the host; one that is away offers nothing.
func (a *app) complete(ctx context.Context, of names) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	client, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := of(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
