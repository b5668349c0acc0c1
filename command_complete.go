package frontier

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// complete completes a command's first argument in the shell with names that
// the running server has, if the command's usage asks for a prompt (NAME), a
// route (ROUTE), a provider (PROVIDER), a dataset (DATASET), a run (RUN) or a model (MODEL): see `caddy completion --help`. Without a server that answers
// at once, nothing is offered.
func (c *cli) complete(use string) cobra.CompletionFunc {
	_, wanted, _ := strings.Cut(use, " ")
	wanted = strings.TrimPrefix(wanted, "[")
	collection := ""
	switch {
	case strings.HasPrefix(wanted, "NAME"), strings.HasPrefix(wanted, "PROMPT"):
		collection = "/llm/prompts"
	case strings.HasPrefix(wanted, "ROUTE"):
		collection = "/llm/routes"
	case strings.HasPrefix(wanted, "PROVIDER"):
		collection = "/llm/"
	case strings.HasPrefix(wanted, "DATASET"):
		collection = "/llm/datasets"
	case strings.HasPrefix(wanted, "RUN"):
		collection = "/llm/runs"
	case strings.HasPrefix(wanted, "MODEL"):
		collection = "/llm/models"
	case strings.HasPrefix(wanted, "FILE"):
		return nil
	}
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || collection == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return c.names(ctx, collection, begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes a flag's value with the names of a collection.
func (c *cli) completeFlag(cmd *cobra.Command, flag, collection string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return c.names(ctx, collection, begun), cobra.ShellCompDirectiveNoFileComp
	})
}

func (c *cli) names(ctx context.Context, collection, prefix string) (names []string) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil
	}
	server, err := newAdminClient(address)
	if err != nil {
		return nil
	}
	answer, err := server.do(ctx, http.MethodGet, collection, nil, nil)
	if err != nil {
		return nil
	}
	var list struct {
		Items []struct {
			Name  string `json:"name"`
			ID    string `json:"id"`    // of a run
			Model string `json:"model"` // of a model
		} `json:"items"`
		Providers map[string]providerView `json:"providers"` // of the status
	}
	if json.Unmarshal(answer, &list) != nil {
		return nil
	}
	for _, name := range sortedKeys(list.Providers) {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	for _, item := range list.Items {
		if name := cmp.Or(item.Model, item.Name, item.ID); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}
