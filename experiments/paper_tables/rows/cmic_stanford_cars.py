"""Table 2 of Lin et al. (ICCV 2021) on Stanford Cars 3D."""

from paper_tables.rows.cmic import car_tables

PAPER = car_tables('stanford_cars.py', 'Stanford Cars 3D', transfer=83.4, hsv=81.5, none=81.7, triplet=80.3)
