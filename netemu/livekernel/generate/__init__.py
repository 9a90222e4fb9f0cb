"""Random nodes, rules and traffic for the live kernel and netemu to agree on.

`random_world` draws a node and its surroundings, `random_rules` its rules, `Script` the traffic.
Everything comes from one seed, but for the moments at which frames are sent.
"""
