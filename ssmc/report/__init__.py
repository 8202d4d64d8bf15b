"""The report: facts as data first, then a page and tables drawn from them."""
