"""A local web page and HTTP endpoint that search an index; needs the extra `serve`."""
