package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
)

// addGrants adds the flags that say what a function may do to the outside.
func (a *app) addGrants(c *cobra.Command, config *api.FunctionConfig) {
	flags := c.Flags()
	flags.StringSliceVar(&config.Emit, "emit", nil, "stream the function may emit records to; repeatable")
	flags.StringSliceVar(&config.Secrets, "secret", nil, `secret the function may read, by name ("shardmill secret set" sets it); repeatable`)
	flags.StringSliceVar(&config.State, "state", nil, "state table of the function: NAME for one of its own, shared:NAME for one that it shares; repeatable")
	flags.StringArrayVar(&config.HTTP, "http", nil, `server the function may call, "METHODS scheme://host:port", as in "GET,POST https://api.example.com"; repeatable`)
	flags.Var(&variables{&config.Env}, "env", "environment variable of the function, NAME=VALUE; repeatable")
	a.completingFlag(c, "emit", streamNames)
	a.completingFlag(c, "secret", secretNames)
}

// settle takes from the folder's own settings what no flag gave.
func settle(flags *pflag.FlagSet, config, own *api.FunctionConfig) {
	config.Timeout = cmp.Or(config.Timeout, own.Timeout)
	config.Memory = cmp.Or(config.Memory, own.Memory)
	config.IdleMemory = cmp.Or(config.IdleMemory, own.IdleMemory)
	config.Fuel = cmp.Or(config.Fuel, own.Fuel)
	config.Concurrency = cmp.Or(config.Concurrency, own.Concurrency)
	config.Isolation = cmp.Or(config.Isolation, own.Isolation)
	if !flags.Changed("emit") {
		config.Emit = own.Emit
	}
	if !flags.Changed("secret") {
		config.Secrets = own.Secrets
	}
	if !flags.Changed("state") {
		config.State = own.State
	}
	if !flags.Changed("http") {
		config.HTTP = own.HTTP
	}
	if !flags.Changed("env") {
		config.Env = own.Env
	}
}

// variables is a flag of NAME=VALUE. Unlike a slice's it takes commas as they are.
type variables struct{ to *api.Variables }

func (v *variables) Set(text string) error { return v.to.Add(text) }

func (v *variables) Type() string { return "NAME=VALUE" }

func (v *variables) String() string {
	if v.to == nil {
		return ""
	}
	return joinOr(v.to.Pairs(), "")
}

// warnOfMissing tells of what a function is granted and what is not there: streams, where what it emits fails its batch, and secrets.
func (a *app) warnOfMissing(ctx context.Context, client *api.Client, config *api.FunctionConfig) {
	for _, name := range config.Emit {
		_, err := client.Stream(ctx, name)
		if p := (*api.Problem)(nil); errors.As(err, &p) && p.Kind() == api.KindStreamNotFound {
			a.say(`there is no stream %q yet: what the function emits to it fails until "shardmill stream create %s"`, name, name)
		}
	}
	if len(config.Secrets) == 0 {
		return
	}
	known, err := client.Secrets(ctx)
	for _, name := range config.Secrets {
		if err == nil && !slices.ContainsFunc(known, func(s api.Secret) bool { return s.Name == name }) {
			a.say(`there is no secret %q yet: the function finds none until "shardmill secret set %s"`, name, name)
		}
	}
}

// printChange tells what a new version may do that the last one could not, and the reverse.
func (a *app) printChange(c *api.FunctionChange) error {
	if c == nil || c.Against == 0 || len(c.Gained)+len(c.Lost) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(a.out, "\nUnlike version %d\n", c.Against); err != nil {
		return err
	}
	for _, what := range c.Gained {
		if _, err := fmt.Fprintf(a.out, "  + it may %s\n", printable(what)); err != nil {
			return err
		}
	}
	for _, what := range c.Lost {
		if _, err := fmt.Fprintf(a.out, "  - it may no longer %s\n", printable(what)); err != nil {
			return err
		}
	}
	return nil
}
