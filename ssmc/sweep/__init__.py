"""Many compilations side by side: what a sweep file asks for, its database, the workers and the page."""
