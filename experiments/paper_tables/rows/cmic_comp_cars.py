"""Table 2 of Lin et al. (ICCV 2021) on CompCars 3D."""

from paper_tables.rows.cmic import car_tables

PAPER = car_tables('comp_cars.py', 'CompCars 3D', transfer=77.8, hsv=73.0, none=67.3, triplet=64.0)
