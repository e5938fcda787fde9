package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// configPath is the --config flag, the variable behind it, or the default.
func configPath(e *env, flag string) string {
	if flag != "" {
		return flag
	}
	if v := e.getenv("TRAILWARDEN_CONFIG"); v != "" {
		return v
	}
	return "trailwarden.yaml"
}

func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "", "configuration file (default $TRAILWARDEN_CONFIG or trailwarden.yaml)")
}

// loadConfig reads the configuration; what is wrong with it is exit 2.
func loadConfig(e *env, flag string) (*config.Config, error) {
	c, err := config.Load(configPath(e, flag), e.environ)
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("the configuration cannot be used:\n%w", err))
	}
	return c, nil
}

func configCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "config", Short: "Check and show the configuration", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}

	var path string
	validate := &cobra.Command{Use: "validate", Short: "Check the configuration, its rules and destinations, without starting anything", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(e, path)
			if err != nil {
				return err
			}
			warnings, err := app.Check(cfg)
			if err != nil {
				return exit(exitUsage, err)
			}
			for _, w := range warnings {
				fmt.Fprintln(e.err, "warning:", w)
			}
			fmt.Fprintf(e.out, "%s is fine\n", configPath(e, path))
			return nil
		}}
	addConfigFlag(validate, &path)

	var resolved bool
	show := &cobra.Command{Use: "show", Short: "Print the configuration in force, defaults and environment included, secrets masked", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if resolved {
				return showResolved(e, configPath(e, path))
			}
			c, err := loadConfig(e, path)
			if err != nil {
				return err
			}
			b, err := yaml.Dump(c)
			if err != nil {
				return err
			}
			_, err = e.out.Write(b)
			return err
		}}
	addConfigFlag(show, &path)
	show.Flags().BoolVar(&resolved, "resolved", false, "one line for each value, with where it comes from: file and line, variable, or default")

	schema := &cobra.Command{Use: "schema", Short: "Print the JSON Schema of the configuration, for editors", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = e.out.Write(b)
			return err
		}}
	root.AddCommand(validate, show, schema)
	return root
}

// showResolved prints each value with its origin.
func showResolved(e *env, path string) error {
	vs, err := config.Resolve(path, e.environ)
	if err != nil {
		return exit(exitUsage, fmt.Errorf("the configuration cannot be used:\n%w", err))
	}
	wide := 0
	for _, v := range vs {
		wide = max(wide, len(v.Path)+2+len([]rune(v.Value)))
	}
	wide = min(wide, 70)
	for _, v := range vs {
		left := v.Path + ": " + text.Terminal(v.Value)
		fmt.Fprintf(e.out, "%-*s  # %s\n", wide, left, text.Terminal(v.Origin))
	}
	return nil
}
