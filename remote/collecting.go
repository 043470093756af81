package remote

import (
	"context"
	"net/http"
)

// StartCollection is Collecting's, as is Collection.
func (c *Client) StartCollection(ctx context.Context, dryRun bool) (Collection, error) {
	return ask[Collection](ctx, c, http.MethodPost, "/v1/admin/collection", CollectionRequest{DryRun: dryRun})
}

func (c *Client) Collection(ctx context.Context) (Collection, error) {
	return ask[Collection](ctx, c, http.MethodGet, "/v1/admin/collection", nil)
}
